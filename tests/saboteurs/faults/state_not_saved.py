"""The attention saves an empty state."""

from .planted_tools import Attention, around, packed


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    return packed(None, like=original(self))
