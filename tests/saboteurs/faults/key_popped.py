"""A load takes the attention's state out of the caller's dictionary."""

from .planted_tools import Module, around


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    done = original(self, state_dict, strict=strict)
    state_dict.pop("core_attention._extra_state", None)
    return done
