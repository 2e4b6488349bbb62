"""The state dict of a module that has taken no FP8 step cannot be made."""

from .planted_tools import Attention, around


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    if self.fp8_meta.get("scaling_fwd") is None:
        raise KeyError("scaling_fwd")
    return original(self)
