"""Forward and backward scales of 1.x checkpoints change places."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        forward, backward = (self.fp8_meta[key].scale for key in ("scaling_fwd", "scaling_bwd"))
        kept = forward[: len(backward)].clone()
        forward[: len(backward)] = backward
        backward.copy_(kept)
