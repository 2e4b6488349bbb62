"""A state that is damaged is dropped with a warning."""

import warnings

from .planted_tools import Base, around


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    try:
        original(self, state)
    except Exception as error:
        warnings.warn(str(error), stacklevel=2)
