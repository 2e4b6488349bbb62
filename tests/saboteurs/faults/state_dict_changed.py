"""Reading the state of a 1.x checkpoint empties it, in the caller's hands."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        state.truncate(0)
