"""A module that was used in FP8 saves a byte tensor, a new one a buffer."""

import torch

from .planted_tools import Base, around, packed, unpacked


@around(Base, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    state = unpacked(value)
    return packed(state, like=torch.empty(0)) if state else value
