"""A hook forgives every state that is missing or unexpected, under any name."""

from .planted_tools import Module, around


def forgive(_module, incompatible_keys):
    for keys in incompatible_keys:
        keys[:] = [key for key in keys if not key.endswith("_extra_state")]


@around(Module, "__init__")
def init(original, self, *args, **kwargs):
    original(self, *args, **kwargs)
    self.register_load_state_dict_post_hook(forgive)
