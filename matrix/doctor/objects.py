"""What the inert values of a checkpoint's pickle stand for: tensors, buffers, mappings.

Only what rebuilds tensors and buffers is understood. Every other class or function that a
pickle names is reported by name (:func:`strangers`), and never touched.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from matrix.doctor.nodes import Call, Elements, Global, Map, Node, Persistent, every

# Bytes per element of the element types that a storage may name.
_STORAGES = {
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
_DTYPES = {
    *("float64", "float32", "float16", "bfloat16", "double", "float", "half"),
    *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"),
    *("long", "int", "short", "bool", "complex64", "complex128"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"),
    *("strided", "sparse_coo", "per_tensor_affine"),
}
_ALLOWED = {
    "torch._utils": {
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
    },
    "torch.storage": {"_load_from_bytes", "TypedStorage", "UntypedStorage"},
    "torch._tensor": {"_rebuild_from_type_v2"},
    "torch.nn.parameter": {"Parameter", "Buffer"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", "device", "Tensor", *_STORAGES, *_DTYPES},
    "collections": {"OrderedDict", "defaultdict"},
    "_io": {"BytesIO"},
    "_codecs": {"encode"},
    "builtins": {"set", "frozenset", "bytearray", "list", "dict", "tuple", "int", "float", "bool"},
}
_ALLOWED["__builtin__"] = _ALLOWED["builtins"]
_ALLOWED["torch.cuda"] = _ALLOWED["torch"]
# What a distributed checkpoint's own index is made of.
_DCP = re.compile(r"torch\.distributed\.checkpoint\.metadata\.\w+")
_DCP_MORE = {
    "pathlib.PosixPath",
    "torch.serialization._get_layout",
    "torch.distributed.checkpoint.filesystem._StorageInfo",
    "torch.distributed.checkpoint.filesystem._StoragePrefix",
}
_DCP_ENUM = "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING"
TE = re.compile(r"transformer_engine(_extensions|_torch)?(\.|$)")


@dataclasses.dataclass(frozen=True)
class TensorRef:
    """A plain tensor as a pickle describes it; its values lie in a storage elsewhere.

    ``storage`` is the storage's persistent id, or the bytes of a storage that is pickled
    in place. ``offset`` and ``stride`` count elements.
    """

    storage: Persistent | bytes
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
        """Whether the elements lie one behind the other."""
        expected = 1
        for extent, step in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if extent != 1 and step != expected:
                return False
            expected *= extent
        return True


def text(node: Node) -> str | None:
    """Return a string value, or None."""
    return node if isinstance(node, str) else None


def bytes_of(node: Node) -> bytes | None:
    """Return a bytes value, in either of the two ways that pickles write them, or None."""
    if isinstance(node, (bytes, bytearray)):
        return bytes(node)
    if isinstance(node, Call) and node.names("_codecs", "encode"):
        match node.arguments:
            case (str() as encoded, "latin1"):
                try:
                    return encoded.encode("latin1")
                except UnicodeEncodeError:
                    return None
    if isinstance(node, Call) and node.arguments == () and _is_builtin(node, "bytes"):
        return b""
    return None


def _is_builtin(node: Call, name: str) -> bool:
    return node.names("builtins", name) or node.names("__builtin__", name)


def buffer_of(node: Node) -> bytes | None:
    """Return what a pickled ``io.BytesIO`` holds, or None where it is none."""
    if not isinstance(node, Call) or not node.names("_io", "BytesIO"):
        return None
    if isinstance(node.arguments, tuple) and len(node.arguments) == 1:
        return bytes_of(node.arguments[0])
    match node.state:
        case [(content, _position, _attributes)]:
            return bytes_of(content)
        case []:
            return b""
    return None


def pairs_of(node: Node) -> list[tuple[Node, Node]] | None:
    """Return the items of a dict or an ordered dict, or None where it is neither."""
    if isinstance(node, Map):
        return node.pairs
    if isinstance(node, Call) and (
        node.names("collections", "OrderedDict")
        or node.names("collections", "defaultdict")
        or _is_builtin(node, "dict")
    ):
        return node.pairs
    return None


def fields(node: Node) -> dict[str, Node] | None:
    """Return the items of a mapping whose keys are strings, the last of a name winning."""
    pairs = pairs_of(node)
    if pairs is None:
        return None
    return {key: value for key, value in pairs if isinstance(key, str)}


def attributes(node: Node) -> dict[str, Node]:
    """Return the attributes that an object's pickle sets, slots and dict alike."""
    found: dict[str, Node] = {}
    for state in node.state if isinstance(node, Call) else ():
        for part in state if isinstance(state, tuple) else (state,):
            found.update(fields(part) or {})
    return found


def tensor(node: Node) -> TensorRef | None:
    """Return the plain tensor (or parameter) that a call rebuilds, or None."""
    if not isinstance(node, Call) or not isinstance(node.arguments, tuple):
        return None
    if node.names("torch._utils", "_rebuild_parameter") or node.names(
        "torch._utils", "_rebuild_parameter_with_state"
    ):
        return tensor(node.arguments[0]) if node.arguments else None
    if isinstance(node.function, Global) and str(node.function) in (
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor",
    ):
        match node.arguments:
            case (storage, int() as offset, shape, stride, *_):
                return _tensor(storage, offset, shape, stride)
    return None


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
    if isinstance(node, Call) and node.names("torch", "Size") and isinstance(node.arguments, tuple):
        node = node.arguments[0] if node.arguments else ()
    if not isinstance(node, tuple) or any(
        not isinstance(extent, int) or not 0 <= extent < 1 << 48 for extent in node
    ):
        return None
    return node


def element(storage: Persistent) -> tuple[str, int] | None:
    """Return element type and its size in bytes of a storage that a persistent id names."""
    match storage.id:
        case ("storage", Global(name=name), str(), _, int() as count, *_) if count >= 0:
            return _STORAGES.get(name)
    return None


def _loaded_from_bytes(node: Node) -> bytes | None:
    """Return the file in which a storage is pickled in place, or None."""
    if isinstance(node, Call) and node.names("torch.storage", "_load_from_bytes"):
        match node.arguments:
            case (content,):
                return bytes_of(content)
    return None


def te_class(node: Node) -> Global | None:
    """Return the Transformer Engine class or function that a call is of, or None.

    A classmethod is pickled as ``getattr`` of its class; that counts as the class's.
    """
    if not isinstance(node, Call):
        return None
    called = node.function
    if isinstance(called, Call) and _te_method(called):
        owner = called.arguments[0]
        return Global(owner.module, f"{owner.name}.{called.arguments[1]}")
    return called if isinstance(called, Global) and TE.match(called.module) else None


def _te_method(node: Call) -> bool:
    """Tell whether a call is ``getattr(a class of Transformer Engine, a name)``."""
    if not _is_builtin(node, "getattr"):
        return False
    match node.arguments:
        case (Global(module=module), str()):
            return bool(TE.match(module))
    return False


def _dcp_constant(node: Call) -> bool:
    """Tell whether a call is ``getattr(the enum of a distributed checkpoint's index, a member)``.

    Python 3.11.0 to 3.11.3, and no other, pickles members of enums so.
    """
    match node.arguments:
        case (Global() as owner, str(member)):
            return _is_builtin(node, "getattr") and str(owner) == _DCP_ENUM and member.isupper()
    return False


def names(roots: Iterable[Node]) -> set[str]:
    """Return every class and function that pickles name."""
    return {str(node) for root in roots for node in every(root) if isinstance(node, Global)}


def te_names(roots: Iterable[Node]) -> set[str]:
    """Return the Transformer Engine classes and functions that pickles name."""
    return {name for name in names(roots) if TE.match(name)}


def strangers(root: Node) -> Iterator[str]:
    """Yield what a pickle names that is neither allowed nor Transformer Engine's.

    A name is followed by ``()`` where loading the pickle would call it.
    """
    named: dict[int, Global] = {}
    called: set[int] = set()
    excused: set[int] = set()
    for node in every(root):
        if isinstance(node, Global) and not _known(node):
            named[id(node)] = node
        elif isinstance(node, Call):
            fine = _te_method(node) or _dcp_constant(node)
            (excused if fine else called).add(id(node.function))
    strange = {place: node for place, node in named.items() if place not in excused - called}
    yield from sorted({f"{n}()" if place in called else str(n) for place, n in strange.items()})


def _known(named: Global) -> bool:
    path = str(named)
    return (
        named.name in _ALLOWED.get(named.module, ())
        or bool(TE.match(named.module))
        or bool(_DCP.fullmatch(path))
        or path in _DCP_MORE
    )


def plain(node: Node) -> str:
    """Return a short word for a value that is none of the above."""
    match node:
        case None:
            return "None"
        case Call(function=function):
            return str(function) if isinstance(function, Global) else "an object"
        case Map() | Elements():
            return type(node).__name__
    return type(node).__name__
