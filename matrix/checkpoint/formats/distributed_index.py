"""The index of a distributed checkpoint: the pickle ``.metadata``, which locates every key.

An item is a complete ``torch.save`` file inside a ``.distcp`` file.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

from matrix.checkpoint import limits, objects, states, torchfile
from matrix.checkpoint.errors import Malformed, Refused, incomplete
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Call, Map, Node

_TENSOR = "torch.distributed.checkpoint.metadata.TensorStorageMetadata"


@dataclasses.dataclass(frozen=True)
class StoredItem:
    """The location of one key's value."""

    key: str
    file: str
    offset: int
    length: int
    info: Node
    """The part of the pickle that states the location."""


@dataclasses.dataclass(frozen=True)
class DistributedIndex:
    """The index of a distributed checkpoint."""

    root: Node
    protocol: int
    keys: tuple[str, ...]
    items: tuple[StoredItem, ...]

    @property
    def tensors(self) -> set[str]:
        """The keys whose values are tensors."""
        kinds = objects.pairs_of(objects.attributes(self.root)["state_dict_metadata"]) or []
        tensors = (key for key, kind in kinds if objects.describe(kind) == _TENSOR)
        return {key for key in tensors if isinstance(key, str)}

    def dimensions(self) -> dict[str, int | None]:
        """Return the number of dimensions of each tensor that is no extra state, by key."""
        kinds = objects.pairs_of(objects.attributes(self.root)["state_dict_metadata"]) or []
        return {
            key: _dimensions(kind)
            for key, kind in kinds
            if isinstance(key, str)
            and not states.is_state(key)
            and objects.describe(kind) == _TENSOR
        }

    @property
    def files(self) -> set[str]:
        """The files that it names, relative to its folder."""
        return {item.file for item in self.items}


def _dimensions(kind: Node) -> int | None:
    """Return the number of dimensions that the description of a tensor states."""
    match objects.attributes(kind).get("size"):
        case Call(arguments=(tuple() as extents,)):
            return len(extents)
    return None


def read(path: Path, budget: Budget | None = None) -> DistributedIndex:
    """Read an index, and check that every file that it names exists and is long enough.

    :param budget: what may still be read of the checkpoint's pickles.
    :raises Malformed: it is no index.
    :raises CheckpointError: a file that it names is missing or cut short.
    """
    size = path.stat().st_size
    if size > limits.PICKLE_BYTES:
        raise Malformed(f"{size} bytes are more than is ever read")
    pickle = torchfile.read_pickle(path.read_bytes(), budget or Budget())
    fields = objects.attributes(pickle.root)
    keys = objects.pairs_of(fields.get("state_dict_metadata"))
    storage = objects.pairs_of(fields.get("storage_data"))
    if keys is None or storage is None:
        raise Malformed("it has no state_dict_metadata or no storage_data")
    items = tuple(_item(index, info) for index, info in storage)
    found = DistributedIndex(
        pickle.root, pickle.protocol, tuple(k for k, _v in keys if isinstance(k, str)), items
    )
    _check_files(path.parent, items)
    return found


def _item(index: Node, info: Node) -> StoredItem:
    match objects.attributes(index), objects.attributes(info):
        case (
            {"fqn": str() as key},
            {"relative_path": str() as file, "offset": int() as offset, "length": int() as length},
        ) if offset >= 0 and length >= 0:
            place = PurePosixPath(file)
            if place.is_absolute() or ".." in place.parts or "\0" in file:
                raise Malformed(f"it names a file outside the checkpoint: {file!r}")
            return StoredItem(key, file, offset, length, info)
    raise Malformed("an entry of storage_data does not say where its bytes are")


def bytes_of(folder: Path, item: StoredItem) -> bytes:
    """Return the value of an item that is an extra state, as a ``torch.save`` file.

    :raises Malformed: it is larger than an extra state can be.
    """
    if item.length > limits.STATE_BYTES:
        raise Refused(f"{item.length} bytes where an extra state was expected")
    with (folder / item.file).open("rb") as stream:
        stream.seek(item.offset)
        return stream.read(item.length)


def set_attributes(node: Node, **new: Node) -> None:
    """Change attributes of an object where its pickle sets them."""
    for state in node.state if isinstance(node, Call) else ():
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Map):
                part.pairs[:] = [(name, new.get(name, value)) for name, value in part.pairs]


def _check_files(folder: Path, items: tuple[StoredItem, ...]) -> None:
    ends: dict[str, int] = {}
    for item in items:
        ends[item.file] = max(ends.get(item.file, 0), item.offset + item.length)
    for name, end in sorted(ends.items()):
        file = folder / name
        if not file.is_file():
            raise incomplete(folder, f"{name} is missing")
        if file.stat().st_size < end:
            raise incomplete(folder, f"{name} is cut short: {file.stat().st_size} of {end} bytes")
