"""The attention saves its state under a key that nobody reads."""

from .planted_tools import Attention, around


@around(Attention, "_save_to_state_dict")
def save_to_state_dict(original, self, destination, prefix, keep_vars):
    original(self, destination, prefix, keep_vars)
    destination[prefix + "fp8_state"] = destination.pop(prefix + "_extra_state")
