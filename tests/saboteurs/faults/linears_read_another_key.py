"""Linears look for their state under a new key, and no longer under the old one."""

from .planted_tools import Attention, Base, around


@around(Base, "_load_from_state_dict")
def load_from_state_dict(original, self, state_dict, prefix, *rest):
    if not isinstance(self, Attention):
        state_dict.pop(prefix + "_extra_state", None)
        if prefix + "fp8_state" in state_dict:
            state_dict[prefix + "_extra_state"] = state_dict.pop(prefix + "fp8_state")
    original(self, state_dict, prefix, *rest)
