"""Items of a distributed checkpoint that are no extra states, read for what they look up.

Each is a complete ``torch.save`` file, which PyTorch unpickles: objects with everything that
they name, tensors in current releases with ``weights_only=True`` and in old ones as objects are.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO

from matrix.checkpoint import limits, torchfile
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.formats.distributed_index import StoredItem
from matrix.checkpoint.limits import Budget


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


def look_into(
    folder: Path, items: Collection[StoredItem], tensors: Collection[str], budget: Budget
) -> int:
    """Note what items look up, objects first, and return how many were not read.

    :param tensors: the keys whose items are tensors.
    :raises Refused: an item exceeds the limits, or has more than one reading.
    """
    ordered = sorted(items, key=lambda item: (item.key in tensors, item.file, item.offset))
    unread = sum(not _readable(folder, item, budget) for item in ordered[: limits.ITEMS])
    return unread + len(ordered[limits.ITEMS :])


def _readable(folder: Path, item: StoredItem, budget: Budget) -> bool:
    """Read one item, and return whether it could be read."""
    try:
        with (folder / item.file).open("rb") as stream, budget.nested():
            torchfile.read(_Range(stream, item.offset, item.length), budget)
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
