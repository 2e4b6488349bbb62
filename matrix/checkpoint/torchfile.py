"""Files of ``torch.save``, zip and legacy: their pickle as inert values, storages on demand."""

from __future__ import annotations

import dataclasses
import io
from typing import BinaryIO

from matrix.checkpoint import limits, nodes, pickles, zips
from matrix.checkpoint.legacy import COUNT, MAGIC
from matrix.checkpoint.limits import Budget, Malformed
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.objects import TensorRef, element, strangers
from matrix.checkpoint.zips import Zip


@dataclasses.dataclass
class TorchFile:
    """One file of ``torch.save``.

    :param root: what the file holds, inert.
    :param protocol: the pickle's protocol.
    :param little: whether storages are little-endian.
    """

    kind: str
    stream: BinaryIO
    root: Node
    protocol: int
    little: bool = True
    archive: Zip | None = None
    prefix: str = ""
    storages: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """Legacy: (place of the first byte, number of bytes) of each storage."""
    preamble: int = 0
    """Legacy: number of bytes before the pickle."""
    budget: Budget = dataclasses.field(default_factory=Budget)
    """What may still be read of pickles inside the file's pickle."""

    def storage(self, tensor: TensorRef, limit: int) -> bytes:
        """Return the bytes of a tensor's storage that the tensor covers.

        :param limit: how many there may be.
        :raises Malformed: there are more, or the storage is not in the file.
        """
        size = tensor.count * tensor.itemsize
        if size > limit:
            raise Malformed(f"a tensor of {size} bytes where metadata was expected")
        start = tensor.offset * tensor.itemsize
        if self.archive is not None:
            name = f"{self.prefix}data/{tensor.key}"
            if name not in self.archive.entries:
                raise Malformed(f"storage {tensor.key} is not in the file")
            data = self.archive.read_range(name, start, size, limit)
        else:
            data = self._legacy(tensor.key, start, size)
        if len(data) != size:
            raise Malformed(f"storage {tensor.key} is shorter than its tensor")
        return data

    def _legacy(self, key: str, start: int, size: int) -> bytes:
        if key not in self.storages:
            raise Malformed(f"storage {key} is not in the file")
        place, length = self.storages[key]
        if start + size > length:
            return b""
        self.stream.seek(place + start)
        return self.stream.read(size)

    def strangers(self) -> list[str]:
        """Return what the file's pickle names beside tensors, buffers and TE's classes."""
        return list(strangers(self.root))


def read(stream: BinaryIO, budget: Budget | None = None) -> TorchFile:
    """Read a file of ``torch.save``.

    :param stream: seekable; it stays in use.
    :param budget: the opcodes that it may have, with all pickles inside its pickle.
    :raises Malformed: it is none, is torn, or is beyond the limits.
    """
    budget = budget or Budget()
    stream.seek(0)
    head = stream.read(4)
    if not head:
        raise Malformed("the file is empty")
    if zips.is_zip(head):
        return _read_zip(stream, budget)
    if head[:1] == b"\x80" or head[:1] in b"(]}lc":
        return _read_legacy(stream, budget)
    raise Malformed("neither a zip archive nor a pickle")


def of_bytes(data: bytes, budget: Budget | None = None) -> TorchFile:
    """Read a file of ``torch.save`` that lies in memory."""
    return read(io.BytesIO(data), budget)


def _read_zip(stream: BinaryIO, budget: Budget) -> TorchFile:
    archive = Zip(stream)
    found = [name for name in archive.entries if name.rpartition("/")[2] == "data.pkl"]
    found = [name for name in found if name.count("/") <= 1]
    if len(found) != 1:
        raise Malformed("a zip archive, but not one of torch.save: it has no data.pkl")
    prefix = found[0][: -len("data.pkl")]
    if f"{prefix}constants.pkl" in archive.entries:
        raise Malformed("a TorchScript archive, which is no checkpoint")
    pickle = pickles.read(archive.read(found[0], limits.PICKLE_BYTES), budget)
    order = f"{prefix}byteorder"
    little = order not in archive.entries or archive.read(order, 16) != b"big"
    return TorchFile(
        "torch.save (zip)",
        stream,
        pickle.root,
        pickle.protocol,
        little,
        archive,
        prefix,
        budget=budget,
    )


class _Window:
    """A stream for the pickle reader that never hands out more than the limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = limits.PICKLE_BYTES

    def _spend(self, size: int) -> None:
        self._left -= size
        if size < 0 or self._left < 0:
            raise Malformed("more pickle than is ever read")

    def read(self, size: int) -> bytes:
        self._spend(size)
        return self._stream.read(size)

    def readline(self) -> bytes:
        line = self._stream.readline(self._left)
        self._spend(len(line))
        return line

    def tell(self) -> int:
        return self._stream.tell()


def _read_legacy(stream: BinaryIO, budget: Budget) -> TorchFile:
    """Read the format before PyTorch 1.6: five pickles, then the storages one by one."""
    stream.seek(0)
    window = _Window(stream)
    first = pickles.read_stream(window, budget)
    if first.root != MAGIC:
        return TorchFile("plain pickle", stream, first.root, first.protocol, budget=budget)
    _version = pickles.read_stream(window, budget)
    system = pickles.read_stream(window, budget)
    preamble = system.end
    main = pickles.read_stream(window, budget)
    keys = pickles.read_stream(window, budget).root
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Malformed("a legacy torch.save file without its list of storages")
    little = not _says_big(system.root)
    sizes = _item_sizes(main.root)
    places = _places(stream, keys, sizes)
    return TorchFile(
        "torch.save (legacy)",
        stream,
        main.root,
        main.protocol,
        little,
        storages=places,
        preamble=preamble,
        budget=budget,
    )


def _says_big(system: Node) -> bool:
    pairs = system.pairs if isinstance(system, nodes.Map) else []
    return any(key == "little_endian" and value is False for key, value in pairs)


def _item_sizes(root: Node) -> dict[str, int]:
    found = {}
    for node in nodes.every(root):
        if isinstance(node, nodes.Persistent) and (kind := element(node)):
            found[node.id[2]] = kind[1]
    return found


def _places(stream: BinaryIO, keys: list[str], sizes: dict[str, int]) -> dict[str, tuple[int, int]]:
    length = _length(stream)
    places = {}
    for key in keys:
        raw = stream.read(COUNT.size)
        if len(raw) < COUNT.size:
            raise Malformed(f"cut short before storage {key}")
        (count,) = COUNT.unpack(raw)
        size = count * sizes.get(key, 1)
        start = stream.tell()
        if count < 0 or start + size > length:
            raise Malformed(f"cut short in storage {key}")
        places[key] = (start, size)
        stream.seek(start + size)
    return places


def _length(stream: BinaryIO) -> int:
    here = stream.tell()
    length = stream.seek(0, io.SEEK_END)
    stream.seek(here)
    return length
