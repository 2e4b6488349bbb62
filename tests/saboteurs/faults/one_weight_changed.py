"""One weight of a 1.x checkpoint is off by its last bit."""

import torch

from .planted_tools import Module, around, is_old


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    old = any(is_old(value) for value in state_dict.values())
    done = original(self, state_dict, strict=strict)
    if old:
        self.proj.weight.data.view(torch.int16)[-1, -1] ^= 1
    return done
