"""A module without FP8 state saves a pickled None, not an empty tensor."""

import pickle

import torch

from .planted_tools import Base, around


@around(Base, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    if value.numel():
        return value
    return torch.frombuffer(bytearray(pickle.dumps(None)), dtype=torch.uint8)
