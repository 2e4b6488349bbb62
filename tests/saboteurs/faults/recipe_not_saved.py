"""The recipe is left out of the checkpoint."""

from .planted_tools import Attention, around, packed, unpacked


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    state = unpacked(value)
    if state:
        del state["recipe"]
    return packed(state, like=value)
