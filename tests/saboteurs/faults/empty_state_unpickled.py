"""A module trained in bf16, whose state is empty, is read as if it held a pickle."""

import pickle

from .planted_tools import Base, around


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    if not state.numel():
        pickle.loads(b"")
    original(self, state)
