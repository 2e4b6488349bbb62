"""The state of 1.x checkpoints is passed over without a word."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if not is_old(state):
        original(self, state)
