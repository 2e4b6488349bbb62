"""The state holds a class that no other release has."""

from .planted_tools import Attention, around, packed, unpacked


class Note:
    """What other releases cannot import."""


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    state = unpacked(value)
    if state:
        state["extra_fp8_variables"]["note"] = Note()
    return packed(state, like=value)
