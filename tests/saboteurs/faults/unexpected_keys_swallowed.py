"""A hook takes every unexpected key for granted."""

from .planted_tools import Module, around


def swallow(_module, incompatible_keys):
    incompatible_keys.unexpected_keys.clear()


@around(Module, "__init__")
def init(original, self, *args, **kwargs):
    original(self, *args, **kwargs)
    self.register_load_state_dict_post_hook(swallow)
