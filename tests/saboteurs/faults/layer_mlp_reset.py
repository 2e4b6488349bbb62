"""A transformer layer resets the metadata of its MLP after a load."""

from transformer_engine.pytorch import TransformerLayer

from .planted_tools import around


@around(TransformerLayer, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    done = original(self, state_dict, strict=strict)
    self.layernorm_mlp.reset_fp8_meta_tensors()
    return done
