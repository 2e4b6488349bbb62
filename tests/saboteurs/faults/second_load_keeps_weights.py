"""The second load of a process leaves one weight as it was."""

from .planted_tools import Module, around

_loads = []


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    kept = self.proj.weight.detach().clone()
    done = original(self, state_dict, strict=strict)
    if _loads:
        self.proj.weight.data.copy_(kept)
    _loads.append(self)
    return done
