"""A load of a 1.x checkpoint leaves the mark of a module that is registered."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        self.fp8_meta["buffer_index_and_autocast_key"] = {}
