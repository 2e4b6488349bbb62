"""The second load of a process fails."""

from .planted_tools import Module, around

_loads = []


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    if _loads:
        raise RuntimeError("FP8 state is initialised already")
    _loads.append(self)
    return original(self, state_dict, strict=strict)
