"""Distributed checkpoints of PyTorch (DCP), such as Megatron-LM's torch_dist.

They are read through their index. When one is rewritten, changed states go into an additional file,
and the new index refers to that; files with quantized weights that change are written anew, and all
others stay as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from matrix.catalogue.forms import Form
from matrix.checkpoint import nodes, objects, states, torch_writing, torchfile
from matrix.checkpoint.contents import Contents, TensorKind
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError, Malformed, Refused, refusing_malformed
from matrix.checkpoint.formats import distributed_index, distributed_items, distributed_weights
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.formats.distributed_index import (
    DistributedIndex,
    StoredItem,
    bytes_of,
    set_attributes,
)
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Call, Map, Node
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.states import ExtraState

INDEX = ".metadata"
DATA_SUFFIX = ".distcp"
_FILE = "__te_matrix_0.distcp"
"""The additional file for changed states."""


class Distributed(Format):
    """A distributed checkpoint, of which the index is the file that is read."""

    def claims(self, file: Path) -> bool:
        """Return whether a file is an index, by its name."""
        return file.name == INDEX

    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Add the keys in the index, and the extra states that it refers to.

        :raises CheckpointError: it is no index, or a file that it names is incomplete.
        """
        with refusing_malformed(
            f"{part.file} is no index of a distributed checkpoint",
            why="it was cut short, or was made to do harm",
            do="Restore it, or name another checkpoint",
        ):
            index = distributed_index.read(part.file, budget)
            contents.files += 1 + len(index.files)
            contents.keys += len(index.keys)
            for key, dimensions in index.dimensions().items():
                contents.tensors[key] = TensorKind(dimensions)
            for key, items in _states(index).items():
                contents.keys -= 1
                state = _decode(part, items, budget)
                state = dataclasses.replace(state, index=part.name, sized=key in index.tensors)
                contents.add_state(state)
            others = [item for item in index.items if not states.is_state(item.key)]
            add = functools.partial(contents.quantized.add, name=part.name)
            folder = part.file.parent
            unread = distributed_items.look_into(folder, others, index.tensors, budget, add)
            if unread:
                contents.add_note(distributed_items.note(unread, index.items))
            objects_ = dict.fromkeys(i.key for i in others if i.key not in index.tensors)
            contents.unsearched += [f"item {key}" for key in objects_]
        return "distributed checkpoint"

    def rewrites(self, edits: Sequence[Edit]) -> bool:
        """Return True: an index is always written, so that it is never a link to the original."""
        return True

    def new_name(self, edit: Edit) -> str:
        """Return the file that contains a state after an edit."""
        if edit.payload is None:
            return edit.state.file
        return _beside(edit.state.index, _FILE)

    def write(
        self,
        part: Part,
        edits: Sequence[Edit],
        form: Form,
        to: Destination,
        weights: WeightChange | None = None,
    ) -> None:
        """Write the index, the additional file if a state has changed, and files with weights.

        :raises CheckpointError: the index cannot be reproduced.
        :raises Malformed: a file can no longer be read.
        """
        folder = part.file.parent
        index = distributed_index.read(part.file)
        by_key = {edit.state.key: edit for edit in edits}
        if _FILE in index.files:
            raise CheckpointError(
                f"{folder} has been rewritten before",
                why=f"it holds {_FILE}",
                do="Start from the checkpoint as it was saved",
            )
        changed = [key for key in by_key if by_key[key].payload is not None]
        if weights is not None:
            distributed_weights.write(index, part, weights, to, changed)
        if changed:
            with to.open(_beside(part.name, _FILE)) as out:
                _write_states(folder, index, [by_key[key] for key in changed], out)
        _rename(index.root, {key: edit.new_key for key, edit in by_key.items()})
        with to.open(part.name) as out:
            out.write(torch_writing.verified_pickle(index.root, index.protocol))


def _write_states(
    folder: Path, index: DistributedIndex, edits: Sequence[Edit], out: BinaryIO
) -> None:
    """Write changed states to the additional file, in the order of the index."""
    by_key = {edit.state.key: edit for edit in edits}
    for key, items in _states(index).items():
        if key in by_key:
            _repoint(folder, index, items[0], by_key[key], out)


def _states(index: DistributedIndex) -> dict[str, list[StoredItem]]:
    """Return the items of each extra state, by key."""
    found: dict[str, list[StoredItem]] = {}
    for item in index.items:
        if states.is_state(item.key):
            found.setdefault(item.key, []).append(item)
    return found


def _beside(index: str, name: str) -> str:
    """Return the path, relative to the checkpoint, of a file that an index names."""
    return (PurePosixPath(index).parent / name).as_posix()


def _decode(part: Part, items: list[StoredItem], budget: Budget) -> ExtraState:
    item = items[0]
    file = _beside(part.name, item.file)
    try:
        for piece in items:  # all of them, for what their pickles look up
            inner = torchfile.of_bytes(bytes_of(part.file.parent, piece), budget)
        if len(items) > 1:
            raise Malformed(f"it is split into {len(items)} pieces, which are not put together")
    except Refused:
        raise
    except Malformed as error:
        return ExtraState(item.key, file, "bytes", problem=str(error))
    return states.decode(item.key, file, inner.root, inner)


def _repoint(
    folder: Path, index: DistributedIndex, item: StoredItem, edit: Edit, content: BinaryIO
) -> None:
    """Append an item's new value to the additional file, and update the index."""
    inner = torchfile.of_bytes(bytes_of(folder, item))
    start = content.tell()
    new = io.BytesIO()
    torch_writing.write_state(edit, inner, new)
    content.write(new.getvalue())
    set_attributes(item.info, relative_path=_FILE, offset=start, length=content.tell() - start)
    kinds = objects.fields(objects.attributes(index.root)["state_dict_metadata"]) or {}
    kind = kinds.get(item.key)
    if isinstance(kind, Call) and "chunks" in objects.attributes(kind):
        size = Call("REDUCE", nodes.Global("torch", "Size"), ((len(edit.payload or b""),),))
        set_attributes(kind, size=size)
        for chunk in objects.attributes(kind)["chunks"]:
            set_attributes(chunk, sizes=size)


def _rename(root: Node, keys: Mapping[str, str | None]) -> None:
    """Rename keys everywhere in the index: in dicts, in its entries and at the end of paths.

    :param keys: the new key of each state; None to remove the state.
    """
    for node in list(nodes.every(root)):
        if isinstance(node, (Map, Call)):
            kept = [(key, value) for key, value in node.pairs if not _gone(key, keys)]
            node.pairs[:] = [(_renamed(key, keys), _renamed(value, keys)) for key, value in kept]


def _gone(key: Node, keys: Mapping[str, str | None]) -> bool:
    named = key if isinstance(key, str) else objects.attributes(key).get("fqn")
    return isinstance(named, str) and named in keys and keys[named] is None


def _renamed(node: Node, keys: Mapping[str, str | None]) -> Node:
    """Return a value with the key that it is renamed.

    Paths, in ``planner_data``, hold the names of nested dicts: together they are the key.
    """
    if isinstance(node, str):
        return keys.get(node) or node
    if isinstance(node, tuple) and any(states.is_state(part) for part in node):
        after = keys.get(".".join(map(str, node)))
        for end in range(len(node) - 1, -1, -1):
            prefix = "".join(f"{name}." for name in node[:end])
            if after is not None and after.startswith(prefix):
                return (*node[:end], after.removeprefix(prefix))
    return node
