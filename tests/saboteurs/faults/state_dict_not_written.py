"""The state dict holds an entry that cannot be written to a file."""

from .planted_tools import Module, around


@around(Module, "state_dict")
def state_dict(original, self, *args, **kwargs):
    found = original(self, *args, **kwargs)
    found["hook"] = lambda: None
    return found
