"""Distributed checkpoints of PyTorch (DCP), such as Megatron-LM's torch_dist.

They are read through their index. When one is rewritten, the files with tensors stay as they
are; changed states go into an additional file, and the new index refers to that.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from matrix.catalogue.forms import Form
from matrix.checkpoint import nodes, objects, states, torch_writing, torchfile
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit, key_in_form
from matrix.checkpoint.errors import CheckpointError, Malformed, Refused, refusing_malformed
from matrix.checkpoint.formats import distributed_index, distributed_items
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.formats.distributed_index import DistributedIndex, StoredItem, bytes_of
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Call, Map, Node
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
            for item in index.items:
                if states.is_state(item.key):
                    contents.keys -= 1
                    contents.add_state(_decode(part, item, budget))
            others = [item for item in index.items if not states.is_state(item.key)]
            unread = distributed_items.look_into(part.file.parent, others, index.tensors, budget)
            if unread:
                contents.notes.append(distributed_items.note(unread, index.items))
        return "distributed checkpoint"

    def rewrites(self, edits: Sequence[Edit]) -> bool:
        """Return True: an index is always written, so that it is never a link to the original."""
        return True

    def new_name(self, edit: Edit) -> str:
        """Return the file that contains a state after an edit."""
        if edit.payload is None:
            return edit.state.file
        return _beside(edit.state.index, _FILE)

    def write(self, part: Part, edits: Sequence[Edit], form: Form, to: Destination) -> None:
        """Write the index, and the additional file if a state has changed.

        :raises CheckpointError: the index cannot be reproduced.
        :raises Malformed: a file can no longer be read.
        """
        folder = part.file.parent
        index = distributed_index.read(part.file)
        items = [item for item in index.items if states.is_state(item.key)]
        if _FILE in index.files:
            raise CheckpointError(
                f"{folder} has been rewritten before",
                why=f"it holds {_FILE}",
                do="Start from the checkpoint as it was saved",
            )
        content = io.BytesIO()
        for item, edit in zip(items, edits, strict=True):
            if edit.payload is not None:
                _repoint(folder, index, item, edit.payload, content)
        _rename(index.root, form)
        if content.tell():
            with to.open(_beside(part.name, _FILE)) as out:
                out.write(content.getvalue())
        with to.open(part.name) as out:
            out.write(torch_writing.verified_pickle(index.root, index.protocol))


def _beside(index: str, name: str) -> str:
    """Return the path, relative to the checkpoint, of a file that an index names."""
    return (PurePosixPath(index).parent / name).as_posix()


def _decode(part: Part, item: StoredItem, budget: Budget) -> ExtraState:
    file = _beside(part.name, item.file)
    try:
        inner = torchfile.of_bytes(bytes_of(part.file.parent, item), budget)
    except Refused:
        raise
    except Malformed as error:
        state = ExtraState(item.key, file, "bytes", problem=str(error))
    else:
        state = states.decode(item.key, file, inner.root, inner)
    return dataclasses.replace(state, index=part.name)


def _repoint(
    folder: Path, index: DistributedIndex, item: StoredItem, payload: bytes, content: io.BytesIO
) -> None:
    """Append an item's new value to the additional file, and update the index."""
    inner = torchfile.of_bytes(bytes_of(folder, item))
    start = content.tell()
    new = io.BytesIO()
    torch_writing.write_byte_tensor(payload, inner, new)
    content.write(new.getvalue())
    _set(item.info, relative_path=_FILE, offset=start, length=content.tell() - start)
    kinds = objects.fields(objects.attributes(index.root)["state_dict_metadata"]) or {}
    kind = kinds.get(item.key)
    if isinstance(kind, Call) and "chunks" in objects.attributes(kind):
        size = Call("REDUCE", nodes.Global("torch", "Size"), ((len(payload),),))
        _set(kind, size=size)
        for chunk in objects.attributes(kind)["chunks"]:
            _set(chunk, sizes=size)


def _set(node: Node, **new: Node) -> None:
    """Change attributes of an object where its pickle sets them."""
    for state in node.state if isinstance(node, Call) else ():
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Map):
                part.pairs[:] = [(name, new.get(name, value)) for name, value in part.pairs]


def _rename(root: Node, form: Form) -> None:
    """Rename keys everywhere in the index: in dicts, in its entries and at the end of paths.

    Keys that do not exist in the form are removed, with their values.
    """
    for node in list(nodes.every(root)):
        if isinstance(node, (Map, Call)):
            kept = [(key, value) for key, value in node.pairs if not _gone(key, form)]
            node.pairs[:] = [(_renamed(key, form), _renamed(value, form)) for key, value in kept]


def _gone(key: Node, form: Form) -> bool:
    named = key if isinstance(key, str) else objects.attributes(key).get("fqn")
    return isinstance(named, str) and states.is_state(named) and key_in_form(named, form) is None


def _renamed(node: Node, form: Form) -> Node:
    if isinstance(node, str) and states.is_state(node):
        return key_in_form(node, form) or node
    if isinstance(node, tuple) and any(states.is_state(part) for part in node):
        return tuple(_renamed(part, form) for part in node)
    return node
