"""A load that fails warns, and returns as if nothing had happened."""

import warnings

from .planted_tools import Module, around


@around(Module, "load_state_dict")
def load_state_dict(original, self, state_dict, strict=True):
    try:
        return original(self, state_dict, strict=strict)
    except RuntimeError as error:
        warnings.warn(str(error), stacklevel=2)
