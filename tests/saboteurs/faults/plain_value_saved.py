"""The attention saves a number beside its state, which only this release takes."""

from .planted_tools import Attention, around


@around(Attention, "_save_to_state_dict")
def save_to_state_dict(original, self, destination, prefix, keep_vars):
    original(self, destination, prefix, keep_vars)
    destination[prefix + "format"] = 3


@around(Attention, "_load_from_state_dict")
def load_from_state_dict(original, self, state_dict, prefix, *rest):
    state_dict.pop(prefix + "format", None)
    original(self, state_dict, prefix, *rest)
