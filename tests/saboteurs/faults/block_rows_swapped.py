"""The first two rows of a block-scaled weight change places."""

from transformer_engine.pytorch import Linear

from .planted_tools import around


@around(Linear, "_load_from_state_dict")
def load_from_state_dict(original, self, *args):
    original(self, *args)
    data = self.weight._rowwise_data
    data[:2] = data[:2].flip(0).clone()
