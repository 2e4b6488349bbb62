"""Attention that is not inside another module passes its own state over."""

from .planted_tools import Attention, around


@around(Attention, "_load_from_state_dict")
def load_from_state_dict(original, self, state_dict, prefix, *rest):
    self.planted_bare = not prefix
    original(self, state_dict, prefix, *rest)


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if not self.planted_bare:
        original(self, state)
