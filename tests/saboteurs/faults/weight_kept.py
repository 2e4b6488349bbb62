"""A linear layer keeps the weight that it was built with."""

from transformer_engine.pytorch import Linear

from .planted_tools import around


@around(Linear, "_load_from_state_dict")
def load_from_state_dict(original, self, *args):
    kept = self.weight.detach().clone()
    original(self, *args)
    self.weight.data.copy_(kept)
