"""Only the first attention module that is loaded gets its state, of 1.x checkpoints."""

from .planted_tools import Attention, around, is_old

_loaded = []


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if is_old(state) and _loaded:
        return
    _loaded.append(self)
    original(self, state)
