"""The tensors of FP8 metadata in an extra state: scales and amax histories, with their values."""

from __future__ import annotations

import array
import dataclasses
import struct

from matrix.checkpoint import casts, limits, nodes, objects, torchfile
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.torchfile import TorchFile

_FLOATS = {"float32": "f", "float64": "d", "float16": "e", "bfloat16": "H"}
"""Element types of metadata, and how ``struct`` reads each; a bfloat16 is read as its bits."""
_BFLOAT16 = "bfloat16"


@dataclasses.dataclass(frozen=True)
class MetadataTensor:
    """One tensor of FP8 metadata, such as the forward scales."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    """The elements as bytes, little-endian."""

    @property
    def count(self) -> int:
        """Number of elements."""
        return len(self.data) // struct.calcsize(_FLOATS[self.dtype])

    @property
    def numbers(self) -> tuple[float, ...]:
        """The elements as numbers, which take eight times the memory of ``data``."""
        found = struct.unpack(f"<{self.count}{_FLOATS[self.dtype]}", self.data)
        if self.dtype != _BFLOAT16:
            return found
        return casts.from_bfloat16(found)

    def all(self, number: float) -> bool:
        """Return whether every element equals ``number``."""
        return all(value == number for value in self.numbers)


def values(node: Node, source: TorchFile | None, budget: Budget) -> MetadataTensor:
    """Return a metadata tensor with its elements.

    :param source: the file with its storage, unless that is inside the pickle.
    :raises Malformed: it is no tensor of floating-point numbers, or its storage is missing.
    """
    tensor = objects.tensor(node)
    if tensor is None:
        raise Malformed("a scale or amax history is not a tensor")
    if isinstance(tensor.storage, bytes):
        tensor, source = _in_place(tensor, tensor.storage, budget)
    if source is None or tensor.dtype not in _FLOATS or not tensor.contiguous:
        raise Malformed("a scale or amax history is not a plain tensor of numbers")
    data = source.storage(tensor, limits.STATE_BYTES)
    budget.spend(len(data))
    if not source.little:
        swapped = array.array(_FLOATS[tensor.dtype].replace("e", "H"), data)
        swapped.byteswap()
        data = swapped.tobytes()
    return MetadataTensor(tensor.dtype, tensor.shape, data)


def _in_place(tensor: TensorRef, content: bytes, budget: Budget) -> tuple[TensorRef, TorchFile]:
    """Return a tensor whose storage is inside the pickle, and the file that this storage is."""
    inner = torchfile.of_bytes(content, budget)
    storage = inner.root
    if isinstance(storage, nodes.Call) and storage.arguments:
        # From PyTorch 2 on, a TypedStorage wraps the untyped one as argument or attribute.
        storage = next((n for n in nodes.every(storage) if isinstance(n, nodes.Persistent)), None)
    kind = objects.element(storage) if isinstance(storage, nodes.Persistent) else None
    if kind is None:
        raise Malformed("a storage pickled in place is not one")
    return dataclasses.replace(tensor, storage=storage, dtype=kind[0], itemsize=kind[1]), inner
