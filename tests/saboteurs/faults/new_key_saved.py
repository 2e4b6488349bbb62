"""The attention saves one more key, which only this release takes."""

import torch

from .planted_tools import Attention, around


@around(Attention, "_save_to_state_dict")
def save_to_state_dict(original, self, destination, prefix, keep_vars):
    original(self, destination, prefix, keep_vars)
    destination[prefix + "calibration"] = torch.zeros(1)


@around(Attention, "_load_from_state_dict")
def load_from_state_dict(original, self, state_dict, prefix, *rest):
    state_dict.pop(prefix + "calibration", None)
    original(self, state_dict, prefix, *rest)
