"""A grouped layer loads the metadata of all GEMMs but the last."""

from transformer_engine.pytorch import GroupedLinear

from .planted_tools import around


@around(GroupedLinear, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    held = self.fp8_meta["scaling_fwd"]
    held.scale[-3:] = 1
    held.amax_history[:, -3:] = 0
