"""Scales of 1.x checkpoints pass through bfloat16."""

import torch

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        for key in ("scaling_fwd", "scaling_bwd"):
            scale = self.fp8_meta[key].scale
            scale.copy_(scale.to(torch.bfloat16))
