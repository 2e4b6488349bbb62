"""The output projection's bias is left out of the checkpoint."""

from .planted_tools import Module, around


@around(Module, "state_dict")
def state_dict(original, self, *args, **kwargs):
    found = original(self, *args, **kwargs)
    del found["proj.bias"]
    return found
