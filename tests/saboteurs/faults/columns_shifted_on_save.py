"""Scales are saved one column too far to the right."""

import torch

from .planted_tools import Attention, around, packed, unpacked


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    state = unpacked(value)
    if state:
        state["scale_bwd"] = torch.roll(state["scale_bwd"], 1)
    return packed(state, like=value)
