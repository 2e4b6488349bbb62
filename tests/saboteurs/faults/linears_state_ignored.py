"""The state of linears in 1.x checkpoints is passed over without a word."""

from .planted_tools import Attention, Base, around, is_old


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    if isinstance(self, Attention) or not is_old(state):
        original(self, state)
