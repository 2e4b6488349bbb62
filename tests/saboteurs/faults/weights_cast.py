"""Weights of 1.x checkpoints pass through FP8 on their way in."""

import torch

from .planted_tools import Module, around, is_old


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    old = any(is_old(value) for value in state_dict.values())
    done = original(self, state_dict, strict=strict)
    if old:
        for parameter in self.parameters():
            parameter.data.copy_(parameter.data.to(torch.float8_e4m3fn))
    return done
