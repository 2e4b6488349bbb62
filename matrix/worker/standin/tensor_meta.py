"""The holder of FP8 metadata, as the compiled extension has it."""

from typing import Any, Type

import torch


def make(module: str) -> Type[Any]:
    """Return the class ``FP8TensorMeta``, the metadata of one direction.

    Its fields ``scale``, ``scale_inv`` and ``amax_history`` are None until they are set, take
    tensors only, and cannot be deleted. It has no others, and is neither pickled nor copied.

    :param module: name of the extension.
    """

    class FP8TensorMeta:
        __slots__ = ("_amax_history", "_scale", "_scale_inv")

        def __init__(self) -> None:
            self._scale = self._scale_inv = self._amax_history = None

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TypeError("cannot pickle '{}.FP8TensorMeta' object".format(module))

        scale = _field("_scale")
        scale_inv = _field("_scale_inv")
        amax_history = _field("_amax_history")

    FP8TensorMeta.__module__ = module
    FP8TensorMeta.__qualname__ = "FP8TensorMeta"
    return FP8TensorMeta


def _field(slot: str) -> Any:
    def read(self: Any) -> Any:
        return getattr(self, slot)

    def write(self: Any, value: Any) -> None:
        if not isinstance(value, torch.Tensor):
            raise TypeError("{} takes a tensor, not {!r}".format(slot[1:], value))
        setattr(self, slot, value)

    return property(read, write)
