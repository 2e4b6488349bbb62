"""A norm refuses the empty state that it saves."""

from transformer_engine.pytorch import RMSNorm

from .planted_tools import around


@around(RMSNorm, "set_extra_state")
def set_extra_state(original, self, state):
    if not state.numel():
        raise RuntimeError("Unsupported checkpoint format.")
    original(self, state)
