"""The file format of ``torch.save`` before PyTorch 1.6: five pickles, then the storages.

It is still in use inside newer files: a tensor that is pickled without ``torch.save``
contains its storage as a file of this format.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
import tarfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from matrix.checkpoint import copying, emit, pickles
from matrix.checkpoint.copying import NewContent, Output
from matrix.checkpoint.errors import CheckpointError, Malformed, Refused, cut_short
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.machine import Pickle
from matrix.checkpoint.nodes import Call, Global, Map, Node, Persistent
from matrix.checkpoint.objects import element
from matrix.checkpoint.spans import Span, read_at
from matrix.checkpoint.words import TorchKind

_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_COUNT = struct.Struct("<q")
_VERSION = 1001
_TYPES = {"float32": ("FloatStorage", 4), "float64": ("DoubleStorage", 8)}
_TYPES |= {"float16": ("HalfStorage", 2), "bfloat16": ("BFloat16Storage", 2)}
_TYPES |= {"uint8": ("ByteStorage", 1), "int8": ("CharStorage", 1), "int16": ("ShortStorage", 2)}
_TYPES |= {"int32": ("IntStorage", 4), "int64": ("LongStorage", 8)}


# Writing.


def _header() -> bytes:
    sizes = Map([("short", 2), ("int", 4), ("long", 4)])
    system = Map([("protocol_version", _VERSION), ("little_endian", True), ("type_sizes", sizes)])
    return b"".join(emit.emit(part, 2) for part in (_MAGIC, _VERSION, system))


_HEADER = _header()
"""The first three pickles, as PyTorch writes them on little-endian machines."""


def storage_id(
    dtype: str, key: str, count: int, *, legacy: bool, location: str = "cpu"
) -> Persistent:
    """Return the persistent id of a storage.

    :param count: its number of elements.
    :param legacy: whether it is for a file of this format, whose ids have a sixth field.
    :param location: the device that it was on.
    """
    kind = Global("torch", _TYPES[dtype][0])
    return Persistent(("storage", kind, key, location, count, *([None] if legacy else [])))


def item_size(dtype: str) -> int:
    """Return the number of bytes of an element."""
    return _TYPES[dtype][1]


def storage_file(dtype: str, data: bytes) -> bytes:
    """Return a file that holds one storage and nothing else.

    :param data: the elements, little-endian.
    """
    root = storage_id(dtype, "0", len(data) // item_size(dtype), legacy=True)
    return file(root, {"0": (dtype, data)}, protocol=2)


def file(root: Node, storages: Mapping[str, tuple[str, bytes]], protocol: int = 4) -> bytes:
    """Return a file of this format.

    :param root: its value; storages in it are named by :func:`storage_id`.
    :param storages: element type and elements, little-endian, of each storage by key.
    """
    parts = [_HEADER, emit.emit(root, protocol), emit.emit([*storages], 2)]
    for dtype, data in storages.values():
        parts += [_COUNT.pack(len(data) // item_size(dtype)), data]
    return b"".join(parts)


@dataclasses.dataclass(frozen=True)
class LegacyStorages:
    """The storages at the end of a file; a plain pickle has none."""

    stream: BinaryIO
    places: Mapping[str, tuple[int, int]]
    """Start and size in bytes of each storage, by key."""
    preamble: int
    """Number of bytes before the pickle."""
    kind: TorchKind = TorchKind.LEGACY

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of the storages in the file."""
        return iter(self.places)

    def __contains__(self, key: object) -> bool:
        """Return whether the file has a storage."""
        return key in self.places

    def read(self, key: str, start: int, size: int, limit: int) -> bytes:
        """Return bytes of a storage, or none if it ends before they do.

        :raises Malformed: there is no such storage.
        """
        if key not in self.places:
            raise Malformed(f"storage {key} is not in the file")
        place, length = self.places[key]
        if start + size > length:
            return b""
        self.stream.seek(place + start)
        return self.stream.read(size)

    def span(self, key: str) -> Span:
        """Return where a storage lies."""
        return Span(self.stream, *self.places[key])

    def write(self, new: NewContent, out: Output) -> Mapping[str, int]:
        """Write a file of this format with the first three pickles of this one.

        :returns: the positions of the storages in what was written, by key.
        :raises CheckpointError: it is a plain pickle.
        :raises Malformed: a storage cannot be read.
        """
        if self.kind == TorchKind.PICKLE:
            raise CheckpointError(
                "a plain pickle is not rewritten",
                why="torch.save did not write it",
                do="Save the state with torch.save",
            )
        held = [key for key in self.places if key in new.kept]
        self.stream.seek(0)
        out.write(self.stream.read(self.preamble))
        out.write(new.pickle + emit.emit([*held, *new.added], 2))
        places = {}
        for key in held:
            out.write(read_at(self.stream, self.places[key][0] - _COUNT.size, _COUNT.size))
            places[key] = out.size
            out.copy(copying.pieces(self.span(key)))
        for key, content in new.added.items():
            out.write(_COUNT.pack(content.count))
            places[key] = out.size
            out.copy(content.pieces())
        out.read_back()
        return places


# Reading.


def read(stream: BinaryIO, budget: Budget) -> tuple[Pickle, bool, LegacyStorages]:
    """Read a file's pickle and the positions of its storages.

    :returns: the pickle, whether storages are little-endian, and the storages.
    :raises Malformed: it is cut short, or exceeds the limits.
    """
    little = True
    files: list[Call] = []
    _refuse_tar(stream, budget)
    stream.seek(0)
    # Each extra state holds six such files; parsing these pickles would be most of the work.
    if stream.read(len(_HEADER)) != _HEADER:
        stream.seek(0)
        first = _next(stream, budget, files)
        if first.root != _MAGIC:
            return _plain_pickle(stream, first, budget)
        if _next(stream, budget, files).root != _VERSION:
            raise Malformed("a legacy torch.save file of another version than 1001")
        little = not _says_big(_next(stream, budget, files).root)
    preamble = stream.tell()
    main = _next(stream, budget, files)
    keys = _next(stream, budget, files).root
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Malformed("a legacy torch.save file without its list of storages")
    if len(set(keys)) != len(keys):
        raise Malformed("a legacy torch.save file with two storages of one key")
    places = _places(stream, keys, _item_sizes(main))
    main.files[:] = files
    return main, little, LegacyStorages(stream, places, preamble)


def _next(stream: BinaryIO, budget: Budget, files: list[Call]) -> Pickle:
    """Return the next pickle, and add the files inside it to those of the others."""
    found = pickles.read_stream(stream, budget)
    files += found.files
    return found


def _refuse_tar(stream: BinaryIO, budget: Budget) -> None:
    """Refuse a file that is a tar archive too: PyTorch takes it for its oldest format."""
    stream.seek(0)
    with contextlib.suppress(tarfile.HeaderError):
        if budget.depth == 0:
            tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
            raise Refused("a pickle that is a tar archive too, of which PyTorch reads the latter")


def _plain_pickle(
    stream: BinaryIO, first: Pickle, budget: Budget
) -> tuple[Pickle, bool, LegacyStorages]:
    """Return a pickle that torch.save did not write, after reading those that follow it.

    :raises Malformed: something else follows it.
    """
    end = stream.seek(0, io.SEEK_END)
    stream.seek(first.end)
    files = first.files
    while stream.tell() < end:
        _next(stream, budget, files)
    return first, True, LegacyStorages(stream, {}, 0, TorchKind.PICKLE)


def _says_big(system: Node) -> bool:
    pairs = system.pairs if isinstance(system, Map) else []
    return any(key == "little_endian" and value is False for key, value in pairs)


def _item_sizes(main: Pickle) -> dict[str, int]:
    """Return the bytes per element of each storage."""
    sizes: dict[str, int] = {}
    for storage in main.storages:
        if (kind := element(storage)) and sizes.setdefault(storage.id[2], kind[1]) != kind[1]:
            raise Malformed(f"storage {storage.id[2]} has elements of two types")
    return sizes


def _places(stream: BinaryIO, keys: list[str], sizes: dict[str, int]) -> dict[str, tuple[int, int]]:
    here = stream.tell()
    length = stream.seek(0, io.SEEK_END)
    stream.seek(here)
    places = {}
    for key in keys:
        raw = stream.read(_COUNT.size)
        if len(raw) < _COUNT.size:
            raise cut_short(Malformed(f"cut short before storage {key}"))
        (count,) = _COUNT.unpack(raw)
        size = count * sizes.get(key, 1)
        start = stream.tell()
        if count < 0 or start + size > length:
            raise cut_short(Malformed(f"cut short in storage {key}"))
        places[key] = (start, size)
        stream.seek(start + size)
    return places
