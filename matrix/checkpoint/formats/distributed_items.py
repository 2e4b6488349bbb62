"""Items of a distributed checkpoint that are no extra states: what they look up, and weights.

Each is a complete ``torch.save`` file, which PyTorch unpickles: objects with everything that
they name, tensors in current releases with ``weights_only=True`` and in old ones as objects are.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from matrix.checkpoint import limits, torch_writing, torchfile
from matrix.checkpoint.copying import Copied
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.formats.distributed_index import StoredItem
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.quantized.weights import is_looked_up
from matrix.checkpoint.torchfile import TorchFile


class _Range(io.BytesIO):
    """A range of a file as a stream of its own."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._stream, self._start, self._size, self._place = stream, start, size, 0

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self._place)
        self._stream.seek(self._start + self._place)
        data = self._stream.read(left if size is None or size < 0 else min(size, left))
        self._place += len(data)
        return data


class _Appended(io.BytesIO):
    """What is written behind the end of a file as a stream of its own."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out, self._start = out, out.seek(0, io.SEEK_END)

    def tell(self) -> int:
        return self._out.tell() - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = self._start if whence == io.SEEK_SET else 0
        return self._out.seek(base + offset, whence) - self._start

    def write(self, data: Any, /) -> int:
        return self._out.write(data)

    def flush(self) -> None:
        self._out.flush()


def rewrite(
    folder: Path, item: StoredItem, out: BinaryIO, weights: WeightChange, copied: Copied
) -> tuple[int, int] | None:
    """Write an item behind the end of a file, if it holds quantized weights.

    :returns: its place and length there; None if it holds none, so that nothing was written.
    :raises CheckpointError: a weight cannot be changed.
    :raises Malformed: the item cannot be read.
    """
    with (folder / item.file).open("rb") as stream:
        source = torchfile.read(_Range(stream, item.offset, item.length))
        if not is_looked_up(source.budget.lookups.te):
            return None
        new = _Appended(out)
        start = out.tell()
        torch_writing.write(source, {}, new, copied, weights)
        return start, out.seek(0, io.SEEK_END) - start


def look_into(
    folder: Path,
    items: Collection[StoredItem],
    tensors: Collection[str],
    budget: Budget,
    found: Callable[[TorchFile], None] = lambda _item: None,
) -> int:
    """Note what items look up, objects first, and return how many were not read.

    :param tensors: the keys whose items are tensors.
    :param found: is given every item that was read.
    :raises Refused: an item exceeds the limits, or has more than one reading.
    """
    ordered = sorted(items, key=lambda item: (item.key in tensors, item.file, item.offset))
    read = ordered[: limits.ITEMS]
    unread = sum(not _readable(folder, item, budget, found) for item in read)
    return unread + len(ordered[limits.ITEMS :])


def _readable(
    folder: Path, item: StoredItem, budget: Budget, found: Callable[[TorchFile], None]
) -> bool:
    """Read one item, and return whether it could be read."""
    try:
        with (folder / item.file).open("rb") as stream, budget.nested():
            found(torchfile.read(_Range(stream, item.offset, item.length), budget))
    except Refused:
        raise
    except Malformed:
        return False
    return True


def note(unread: int, items: Iterable[StoredItem]) -> str:
    """Return what users should know of items that were not read."""
    return (
        f"{unread} of its {len(list(items))} items were not read: what loading them would run is "
        "not known, except that current releases of PyTorch load tensors with weights_only=True"
    )
