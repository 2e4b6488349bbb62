"""Attention takes its state up under the name core_attention only."""

from .planted_tools import Attention, around


@around(Attention, "_load_from_state_dict")
def load_from_state_dict(original, self, state_dict, prefix, *rest):
    self.planted_known = "core_attention." in prefix
    original(self, state_dict, prefix, *rest)


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if self.planted_known:
        original(self, state)
