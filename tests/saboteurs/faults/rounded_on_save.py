"""Scales pass through bfloat16 on their way into the checkpoint."""

import torch

from .planted_tools import Attention, around, packed, unpacked


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    state = unpacked(value)
    if state:
        state["scale_fwd"] = state["scale_fwd"].to(torch.bfloat16).to(torch.float32)
    return packed(state, like=value)
