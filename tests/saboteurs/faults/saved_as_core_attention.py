"""Attention saves its state as that of core_attention, whatever its own name is."""

from .planted_tools import Attention, around


@around(Attention, "_save_to_state_dict")
def save_to_state_dict(original, self, destination, prefix, keep_vars):
    original(self, destination, prefix, keep_vars)
    destination["core_attention._extra_state"] = destination.pop(prefix + "_extra_state")
