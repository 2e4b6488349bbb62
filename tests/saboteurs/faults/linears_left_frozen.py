"""A load of a 1.x checkpoint leaves the mark of a module that is registered on linears."""

from .planted_tools import Attention, Base, around, is_old


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state) and not isinstance(self, Attention):
        self.fp8_meta["buffer_index_and_autocast_key"] = {}
