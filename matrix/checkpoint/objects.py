"""Tensors, buffers and dicts recognised in the inert values of a checkpoint's pickle.

Only the functions that rebuild tensors and buffers are interpreted; every other call stays
an inert value.
"""

from __future__ import annotations

import dataclasses
from typing import cast

from matrix.checkpoint.nodes import Call, Global, Map, Node, Persistent


def builtin(name: str) -> tuple[str, str]:
    """Return the full names of a builtin in Python 3 and 2."""
    return f"builtins.{name}", f"__builtin__.{name}"


# Bytes per element of the element types that a storage may name.
STORAGES = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
    "ComplexFloatStorage": ("complex64", 8),
    "ComplexDoubleStorage": ("complex128", 16),
    "UntypedStorage": ("uint8", 1),
    "Float8_e4m3fnStorage": ("float8_e4m3fn", 1),
    "Float8_e5m2Storage": ("float8_e5m2", 1),
}
_SIZES = {"uint16": 2, "uint32": 4, "uint64": 8, **dict(STORAGES.values())}
_MAPPINGS = ("collections.OrderedDict", "collections.defaultdict", *builtin("dict"))
_PARAMETERS = tuple(f"torch._utils._rebuild_parameter{end}" for end in ("", "_with_state"))
_TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_DIMENSIONS = 64  # PyTorch's own limit


@dataclasses.dataclass(frozen=True)
class TensorRef:
    """A plain tensor as a pickle describes it; ``offset`` and ``stride`` count elements."""

    storage: Persistent | bytes
    """The storage's persistent id, or a file with the storage, from inside the pickle."""
    dtype: str
    itemsize: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def key(self) -> str:
        """The storage's name in its file."""
        assert isinstance(self.storage, Persistent)
        return str(self.storage.id[2])

    @property
    def count(self) -> int:
        """Number of elements."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count

    @property
    def contiguous(self) -> bool:
        """Whether the elements are contiguous, in row-major order."""
        expected = 1
        for extent, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if extent != 1 and step != expected:
                return False
            expected *= extent
        return True


def bytes_of(node: Node) -> bytes | None:
    """Return a bytes value, in any of the ways that pickle protocols write it, or None."""
    if isinstance(node, (bytes, bytearray)):
        return bytes(node)
    if isinstance(node, Call) and node.calls("_codecs.encode"):
        match node.arguments:
            case (str() as encoded, "latin1"):
                try:
                    return encoded.encode("latin1")
                except UnicodeEncodeError:
                    return None
    if isinstance(node, Call) and node.arguments == () and node.calls(*builtin("bytes")):
        return b""
    return None


_ARRAYS = ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct")
_BYTE = "u1"


def bytes_in(node: Node) -> tuple[str, bytes] | None:
    """Return the bytes in a value that is no tensor, with what it is as text, or None.

    It is ``bytes``, a list of numbers up to 255, or a NumPy array of ``uint8``, as people turn byte
    tensors into. An array has shape, type and content in its state, see ``array_reduce`` in NumPy.
    """
    if (found := bytes_of(node)) is not None:
        return "bytes", found
    if isinstance(node, list) and node and all(type(n) is int and 0 <= n < 256 for n in node):
        return "a list of numbers", bytes(cast(list[int], node))
    if isinstance(node, Call) and node.calls(*_ARRAYS):
        match node.state:
            case [(int(), tuple(), Call() as dtype, _order, content)]:
                found = bytes_of(content)
                if found is not None and dtype.arguments[:1] == (_BYTE,):
                    return "a NumPy array", found
    return None


def only_bytes(call: Call) -> bytes:
    """Return the bytes that are the only argument of a call; none if it has others."""
    match call.arguments:
        case (content,):
            return bytes_of(content) or b""
    return b""


def is_buffer(node: Node) -> bool:
    """Return whether a value is an ``io.BytesIO``."""
    return isinstance(node, Call) and node.calls("_io.BytesIO", "io.BytesIO")


def buffer_of(node: Node) -> bytes | None:
    """Return the content of a pickled ``io.BytesIO``, or None for any other value."""
    if not is_buffer(node):
        return None
    # A state that is set replaces what it was made of, so only one of both is understood.
    match node.arguments, node.state:
        case (content,), []:
            return bytes_of(content)
        case (), [(content, _position, _attributes)]:
            return bytes_of(content)
        case (), []:
            return b""
    return None


def pairs_of(node: Node) -> list[tuple[Node, Node]] | None:
    """Return the items of a dict, OrderedDict or defaultdict, or None for any other value."""
    if isinstance(node, Map):
        return node.pairs
    return node.pairs if isinstance(node, Call) and node.calls(*_MAPPINGS) else None


def fields(node: Node) -> dict[str, Node] | None:
    """Return the items of a mapping with text keys, or None for any other value."""
    pairs = pairs_of(node)
    if pairs is None:
        return None
    return {key: value for key, value in pairs if isinstance(key, str)}


def attributes(node: Node) -> dict[str, Node]:
    """Return the attributes that a pickle sets on an object, from ``__dict__`` and slots."""
    found: dict[str, Node] = {}
    for state in node.state if isinstance(node, Call) else ():
        for part in state if isinstance(state, tuple) else (state,):
            found.update(fields(part) or {})
    return found


def tensor(node: Node) -> TensorRef | None:
    """Return the plain tensor (or parameter) that a call rebuilds, or None."""
    if isinstance(node, Call) and node.calls(*_PARAMETERS) and isinstance(node.arguments, tuple):
        node = node.arguments[0] if node.arguments else None
    if isinstance(node, Call) and node.calls(*_TENSORS):
        match node.arguments:
            case (storage, int() as offset, shape, stride, *_):
                return _tensor(storage, offset, shape, stride)
    if isinstance(node, Call) and node.calls("torch._utils._rebuild_tensor_v3"):
        match node.arguments:
            case (Persistent() as storage, int() as offset, shape, stride, _, _, Global(), *_):
                found = _tensor(storage, offset, shape, stride)
                return found and _of_type(found, node.arguments[6].name)
    return None


def _of_type(found: TensorRef, dtype: str) -> TensorRef | None:
    """Return a tensor on an untyped storage, whose type stands beside it."""
    size = _SIZES.get(dtype)
    return dataclasses.replace(found, dtype=dtype, itemsize=size) if size else None


def _tensor(storage: Node, offset: int, shape: Node, stride: Node) -> TensorRef | None:
    extents, steps = _extents(shape), _extents(stride)
    if extents is None or steps is None or len(extents) != len(steps) or offset < 0:
        return None
    if isinstance(storage, Persistent):
        kind = element(storage)
        place: Persistent | bytes = storage
    else:
        held = _loaded_from_bytes(storage)
        kind, place = ("", 0) if held is not None else None, held or b""
    if kind is None:
        return None
    return TensorRef(place, *kind, offset, extents, steps)


def _extents(node: Node) -> tuple[int, ...] | None:
    if isinstance(node, Call) and node.calls("torch.Size") and isinstance(node.arguments, tuple):
        node = node.arguments[0] if node.arguments else ()
    if not isinstance(node, tuple) or len(node) > _DIMENSIONS:
        return None
    if any(not isinstance(extent, int) or not 0 <= extent < 1 << 48 for extent in node):
        return None
    return node


def element(storage: Persistent) -> tuple[str, int] | None:
    """Return element type and size in bytes of a storage, or None if it has no known type."""
    match storage.id:
        case ("storage", Global(name=name), str(), _, int() as count, *_) if count >= 0:
            return STORAGES.get(name)
    return None


def _loaded_from_bytes(node: Node) -> bytes | None:
    """Return the file that holds a storage inside the pickle, or None."""
    if isinstance(node, Call) and node.calls("torch.storage._load_from_bytes"):
        return only_bytes(node)
    return None


def describe(node: Node) -> str:
    """Return the type of a value as text, for messages."""
    if isinstance(node, Call):
        return str(node.function) if isinstance(node.function, Global) else "an object"
    if isinstance(node, Map):
        return "dict"
    return "None" if node is None else type(node).__name__
