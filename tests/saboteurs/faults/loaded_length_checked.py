"""A load demands a history of the length of the recipe's default."""

from .planted_tools import Base, around, unpacked


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    found = unpacked(state)
    if found and len(found["amax_history_fwd"]) != 1024:
        raise RuntimeError("The size of tensor a (1024) must match the size of tensor b")
    original(self, state)
