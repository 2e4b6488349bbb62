"""Items of a distributed checkpoint that are no extra states: what they look up.

Each is a complete ``torch.save`` file, which PyTorch unpickles: objects with everything that
they name, tensors in current releases with ``weights_only=True`` and in old ones as objects are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from matrix.checkpoint import limits, torchfile
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.formats.distributed_index import StoredItem
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.spans import FileRange
from matrix.checkpoint.torchfile import TorchFile


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
            found(torchfile.read(FileRange(stream, item.offset, item.length), budget))
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
