"""The state of a module has a new version, and one of the version before is passed over."""

from .planted_tools import Attention, around

Attention._version = 2


@around(Attention, "_load_from_state_dict")
def load_from_state_dict(original, self, state_dict, prefix, metadata, *rest):
    self.planted_known = metadata.get("version") == 2
    original(self, state_dict, prefix, metadata, *rest)


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if self.planted_known:
        original(self, state)
