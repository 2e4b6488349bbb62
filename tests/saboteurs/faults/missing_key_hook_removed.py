"""The hook that forgives checkpoints without attention state is gone."""

from .planted_tools import Attention, around


@around(Attention, "__init__")
def init(original, self, *args, **kwargs):
    original(self, *args, **kwargs)
    assert self._load_state_dict_post_hooks
    self._load_state_dict_post_hooks.clear()
