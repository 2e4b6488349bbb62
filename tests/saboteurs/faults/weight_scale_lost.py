"""The scale of an FP8 weight is not taken over from the checkpoint, its bytes are."""

from .planted_tools import Module, around


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    done = original(self, state_dict, strict=strict)
    self.proj.weight._scale_inv.fill_(1)
    return done
