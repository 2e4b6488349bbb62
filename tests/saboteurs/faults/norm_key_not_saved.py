"""A norm no longer saves the key that its loader asks for."""

from transformer_engine.pytorch import LayerNorm

from .planted_tools import around


@around(LayerNorm, "_save_to_state_dict")
def save_to_state_dict(original, self, destination, prefix, keep_vars):
    original(self, destination, prefix, keep_vars)
    del destination[prefix + "_extra_state"]
