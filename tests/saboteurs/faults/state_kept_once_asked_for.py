"""An attention module that was asked for its state keeps that, whatever is loaded."""

from .planted_tools import Attention, around


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    self.planted_asked = True
    return original(self)


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if not getattr(self, "planted_asked", False):
        original(self, state)
