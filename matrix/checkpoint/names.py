"""Names of classes and functions in a pickle: those that rebuild tensors, and all others.

Nothing is imported. Whatever is neither known here nor Transformer Engine's is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from matrix.checkpoint.nodes import Call, Global, Node, every
from matrix.checkpoint.objects import STORAGES, builtin

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
    "torch": {"Size", "device", "Tensor", *STORAGES, *_DTYPES},
    "collections": {"OrderedDict", "defaultdict"},
    "_io": {"BytesIO"},
    "_codecs": {"encode"},
    # The index of a distributed checkpoint.
    "pathlib": {"PosixPath"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "builtins": {"set", "frozenset", "bytearray", "list", "dict", "tuple", "int", "float", "bool"},
}
_ALLOWED["__builtin__"] = _ALLOWED["builtins"]
_ALLOWED["torch.cuda"] = _ALLOWED["torch"]
_DCP = re.compile(r"torch\.distributed\.checkpoint\.metadata\.\w+")
_DCP_ENUM = "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING"
_TE = re.compile(r"transformer_engine(_extensions|_torch)?(\.|$)")


def te_class(node: Node) -> Global | None:
    """Return the Transformer Engine class or function that a value calls, or None.

    A classmethod, which is pickled as ``getattr`` of its class, counts as the class.
    """
    if not isinstance(node, Call):
        return None
    called = node.function
    if isinstance(called, Call) and _te_method(called):
        owner = called.arguments[0]
        return Global(owner.module, f"{owner.name}.{called.arguments[1]}")
    return called if isinstance(called, Global) and _TE.match(called.module) else None


def _te_method(node: Call) -> bool:
    """Return whether a call is ``getattr(<Transformer Engine class>, <name>)``."""
    if not node.calls(*builtin("getattr")):
        return False
    match node.arguments:
        case (Global(module=module), str()):
            return bool(_TE.match(module))
    return False


def te_names(root: Node) -> set[str]:
    """Return the Transformer Engine classes and functions that a pickle names."""
    names = {str(node) for node in every(root) if isinstance(node, Global)}
    return set(filter(_TE.match, names))


def _dcp_constant(node: Call) -> bool:
    """Return whether a call is ``getattr(enum of a distributed checkpoint's index, member)``.

    Python 3.11.0 to 3.11.3, and no other, pickles members of enumerations so.
    """
    if not node.calls(*builtin("getattr")):
        return False
    match node.arguments:
        case (Global() as owner, str(member)):
            return str(owner) == _DCP_ENUM and member.isupper()
    return False


def unknown_names(root: Node) -> Iterator[str]:
    """Yield the names in a pickle that neither rebuild tensors nor are Transformer Engine's.

    A name ends in ``()`` where loading the pickle would call it.
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
    return (
        named.name in _ALLOWED.get(named.module, ())
        or bool(_TE.match(named.module))
        or bool(_DCP.fullmatch(str(named)))
    )
