"""One scale of 1.x checkpoints is off by its last bit."""

import torch

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        scale = self.fp8_meta["scaling_bwd"].scale
        scale[-1] = torch.nextafter(scale[-1], torch.tensor(0.0))
