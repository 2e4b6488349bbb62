"""What faults are planted with. Copied beside each fault into the release that it spoils."""

import functools
import io
import pickle

import torch
from transformer_engine.pytorch import DotProductAttention as Attention
from transformer_engine.pytorch import MultiheadAttention as Module
from transformer_engine.pytorch.fp8 import FP8GlobalStateManager as global_state  # noqa: N813
from transformer_engine.pytorch.module.base import TransformerEngineBaseModule as Base

__all__ = ["Attention", "Base", "Module", "around", "global_state", "is_old", "packed", "unpacked"]


def around(owner, name):
    """Have a method run the decorated function, which is handed the original first.

    :raises AttributeError: the release has no such method; then there is nothing to spoil.
    """
    original = getattr(owner, name)
    bound = hasattr(original, "__self__")  # a class method needs no object

    def plant(planted):
        @functools.wraps(original)
        def method(*args, **kwargs):
            return planted(original, *args, **kwargs)

        setattr(owner, name, staticmethod(method) if bound else method)
        return planted

    return plant


def is_old(state):
    """Tell whether an extra state is of a 1.x checkpoint; the spoilt release's own are not."""
    return isinstance(state, io.BytesIO)


def unpacked(value):
    """Return what a release put into an extra state; None where that is nothing."""
    if isinstance(value, io.BytesIO):
        value.seek(0)
        return torch.load(value, weights_only=False)
    return pickle.loads(value.numpy().tobytes()) if value.numel() else None


def packed(state, like):
    """Return an extra state of the kind of ``like``."""
    if isinstance(like, io.BytesIO):
        stream = io.BytesIO()
        torch.save(state, stream)
        return stream
    data = bytearray(pickle.dumps(state)) if state is not None else bytearray()
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
