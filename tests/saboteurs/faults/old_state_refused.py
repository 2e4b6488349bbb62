"""The state of 1.x checkpoints is no longer understood."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if is_old(state):
        raise KeyError("recipe")
    original(self, state)
