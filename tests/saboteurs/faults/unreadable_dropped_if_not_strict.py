"""With strict=False, a state that cannot be read is passed over without a word."""

from .planted_tools import Base, Module, around


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    for module in self.modules():
        module.planted_strict = strict
    return original(self, state_dict, strict=strict)


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    try:
        original(self, state)
    except Exception:
        if self.planted_strict:
            raise
