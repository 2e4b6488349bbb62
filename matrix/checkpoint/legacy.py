"""The file format of ``torch.save`` before PyTorch 1.6: five pickles, then the storages.

It lives on inside newer files: a tensor in a plain pickle has its storage as one.
"""

from __future__ import annotations

import struct

from matrix.checkpoint import emit
from matrix.checkpoint.nodes import Global, Map, Persistent

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
COUNT = struct.Struct("<q")
_VERSION = 1001
_TYPES = {"float32": ("FloatStorage", 4), "float64": ("DoubleStorage", 8)}
_TYPES |= {"float16": ("HalfStorage", 2), "uint8": ("ByteStorage", 1)}


def header() -> bytes:
    """Return the three pickles that every file begins with."""
    sizes = Map([("short", 2), ("int", 4), ("long", 4)])
    system = Map([("protocol_version", _VERSION), ("little_endian", True), ("type_sizes", sizes)])
    return b"".join(emit.emit(part, 2) for part in (MAGIC, _VERSION, system))


def storage_id(dtype: str, key: str, count: int, *, legacy: bool) -> Persistent:
    """Return the persistent id of a storage on the CPU.

    :param count: its number of elements.
    :param legacy: the id has a sixth field, for views, in this format.
    """
    kind = Global("torch", _TYPES[dtype][0])
    return Persistent(("storage", kind, key, "cpu", count, *([None] if legacy else [])))


def storage_file(dtype: str, data: bytes) -> bytes:
    """Return a file that holds one storage and nothing else.

    :param data: its elements, little-endian.
    """
    count = len(data) // _TYPES[dtype][1]
    root = storage_id(dtype, "0", count, legacy=True)
    return header() + emit.emit(root, 2) + emit.emit(["0"], 2) + COUNT.pack(count) + data
