"""Only the forward metadata of 1.x checkpoints is loaded."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        self.fp8_meta["scaling_bwd"].scale.fill_(1)
        self.fp8_meta["scaling_bwd"].amax_history.zero_()
