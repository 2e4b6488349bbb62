"""A load leaves the output projection's weight as it was."""

from .planted_tools import Module, around


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    kept = self.proj.weight.detach().clone()
    done = original(self, state_dict, strict=strict)
    self.proj.weight.data.copy_(kept)
    return done
