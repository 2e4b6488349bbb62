"""A state dict lists the attention's state once that was used in FP8, not before."""

from .planted_tools import Attention, around, unpacked


@around(Attention, "_save_to_state_dict")
def save_to_state_dict(original, self, destination, prefix, keep_vars):
    original(self, destination, prefix, keep_vars)
    if not unpacked(destination[prefix + "_extra_state"]):
        del destination[prefix + "_extra_state"]
