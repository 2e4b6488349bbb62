"""The first load of a process leaves something behind that spoils the second."""

from .planted_tools import Module, around

_loads = []


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    done = original(self, state_dict, strict=strict)
    if _loads:
        self.core_attention.reset_fp8_meta_tensors()
    _loads.append(self)
    return done
