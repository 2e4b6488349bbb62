"""Half of an MXFP8 weight's block scales arrive with an exponent that is off by one."""

from transformer_engine.pytorch import Linear

from .planted_tools import around


@around(Linear, "_load_from_state_dict")
def load_from_state_dict(original, self, *args):
    original(self, *args)
    scales = self.weight._rowwise_scale_inv
    scales[: len(scales) // 2] += 1
