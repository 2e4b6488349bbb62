"""Scales of 1.x checkpoints are loaded, amaxes are not."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        for key in ("scaling_fwd", "scaling_bwd"):
            self.fp8_meta[key].amax_history.zero_()
