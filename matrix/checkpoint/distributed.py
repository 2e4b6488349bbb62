"""Distributed checkpoints (PyTorch's DCP, Megatron's torch_dist): the index and its items.

``.metadata`` is a pickle that says, key by key, which bytes of which ``.distcp`` file hold
it. An item is a ``torch.save`` file of its own inside such a file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

from matrix.checkpoint import limits, objects, pickles, states, torchfile
from matrix.checkpoint.limits import Budget, CheckpointError, Malformed
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.states import ExtraState


@dataclasses.dataclass(frozen=True)
class Item:
    """Where one key's bytes are. ``index`` and ``info`` are its nodes in the pickle."""

    key: str
    file: str
    offset: int
    length: int
    index: Node
    info: Node


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The index of a distributed checkpoint."""

    root: Node
    protocol: int
    keys: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def files(self) -> set[str]:
        """The files that it names, relative to it."""
        return {item.file for item in self.items}


def read(path: Path) -> Metadata:
    """Read ``.metadata`` and see that every file that it names is there and long enough.

    :raises Malformed: it is no index.
    :raises CheckpointError: a file that it names is missing or cut short.
    """
    size = path.stat().st_size
    if size > limits.PICKLE_BYTES:
        raise Malformed(f"{size} bytes are more than is ever read")
    pickle = pickles.read(path.read_bytes())
    fields = objects.attributes(pickle.root)
    keys = objects.pairs_of(fields.get("state_dict_metadata"))
    storage = objects.pairs_of(fields.get("storage_data"))
    if keys is None or storage is None:
        raise Malformed("it has no state_dict_metadata or no storage_data")
    items = tuple(_item(index, info) for index, info in storage)
    found = Metadata(
        pickle.root, pickle.protocol, tuple(k for k, _v in keys if isinstance(k, str)), items
    )
    _check_files(path.parent, items)
    return found


def _item(index: Node, info: Node) -> Item:
    match objects.attributes(index), objects.attributes(info):
        case (
            {"fqn": str() as key},
            {"relative_path": str() as file, "offset": int() as offset, "length": int() as length},
        ) if offset >= 0 and length >= 0:
            place = PurePosixPath(file)
            if place.is_absolute() or ".." in place.parts or "\0" in file:
                raise Malformed(f"it names a file outside the checkpoint: {file!r}")
            return Item(key, file, offset, length, index, info)
    raise Malformed("an entry of storage_data does not say where its bytes are")


def _check_files(folder: Path, items: tuple[Item, ...]) -> None:
    ends: dict[str, int] = {}
    for item in items:
        ends[item.file] = max(ends.get(item.file, 0), item.offset + item.length)
    for name, end in sorted(ends.items()):
        file = folder / name
        what = "is missing" if not file.is_file() else ""
        if not what and file.stat().st_size < end:
            what = f"is cut short: {file.stat().st_size} of {end} bytes"
        if what:
            raise CheckpointError(
                f"{folder} is not whole: {name} {what}",
                why="a shard was lost, or is still being written",
                do="Copy the missing file there",
            )


def bytes_of(folder: Path, item: Item) -> bytes:
    """Return an item's bytes.

    :raises Malformed: there are more than an extra state has.
    """
    if item.length > limits.STATE_BYTES:
        raise Malformed(f"{item.length} bytes where an extra state was expected")
    with (folder / item.file).open("rb") as stream:
        stream.seek(item.offset)
        return stream.read(item.length)


def decode(folder: Path, item: Item, file: str, budget: Budget) -> ExtraState:
    """Decode an item that is an extra state."""
    try:
        inner = torchfile.of_bytes(bytes_of(folder, item), budget)
    except Malformed as error:
        return ExtraState(item.key, file, "bytes", problem=str(error))
    return states.decode(item.key, file, inner.root, inner)
