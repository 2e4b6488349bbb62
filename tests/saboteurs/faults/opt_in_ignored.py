"""Pickled state of 1.x checkpoints is refused, opt-in or not."""

from transformer_engine.pytorch._extra_state import extra_state_pickle_advisory

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    if is_old(state):
        raise RuntimeError(extra_state_pickle_advisory("DotProductAttention"))
    original(self, state)
