"""Writing a distributed checkpoint's index anew, and beside it the states that changed.

The files that hold the tensors stay as they are: what changed goes into one more file,
and the index points there.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matrix.checkpoint import distributed, forms, nodes, objects, states, torchfile, writing
from matrix.checkpoint.distributed import Item, Metadata
from matrix.checkpoint.forms import Edit, Form
from matrix.checkpoint.limits import CheckpointError
from matrix.checkpoint.nodes import Call, Map, Node

FILE = "__te_matrix_0.distcp"


def write(index: Path, folder: Path, edits: Sequence[Edit], form: Form) -> None:
    """Write ``.metadata``, and :data:`FILE` where a state changed, into ``folder``.

    :param index: the checkpoint's ``.metadata``.
    :param edits: one for each of its items that is an extra state, in their order.
    :raises CheckpointError: it cannot be written again faithfully.
    """
    metadata = distributed.read(index)
    items = [item for item in metadata.items if states.is_state(item.key)]
    if FILE in metadata.files:
        raise CheckpointError(
            f"{index.parent} has been rewritten before",
            why=f"it holds {FILE}",
            do="Start from the checkpoint as it was saved",
        )
    content = io.BytesIO()
    for item, edit in zip(items, edits, strict=True):
        if edit.payload is not None:
            _repoint(index.parent, metadata, item, edit.payload, content)
    _rename(metadata.root, form)
    folder.mkdir(parents=True, exist_ok=True)
    if content.tell():
        (folder / FILE).write_bytes(content.getvalue())
    (folder / ".metadata").write_bytes(writing.faithful(metadata.root, metadata.protocol))


def _repoint(
    folder: Path, metadata: Metadata, item: Item, payload: bytes, content: io.BytesIO
) -> None:
    """Add an item's new bytes to the new file, and have the index say that they are there."""
    inner = torchfile.of_bytes(distributed.bytes_of(folder, item))
    start = content.tell()
    new = io.BytesIO()
    writing.byte_tensor_file(payload, inner, new)
    content.write(new.getvalue())
    _set(item.info, relative_path=FILE, offset=start, length=content.tell() - start)
    kinds = objects.fields(objects.attributes(metadata.root)["state_dict_metadata"]) or {}
    kind = kinds.get(item.key)
    if isinstance(kind, Call) and "chunks" in objects.attributes(kind):
        size = Call("REDUCE", nodes.Global("torch", "Size"), ((len(payload),),))
        _set(kind, size=size)
        for chunk in objects.attributes(kind)["chunks"]:
            _set(chunk, sizes=size)


def _set(node: Node, **new: Node) -> None:
    """Set attributes of an object, where its pickle sets them."""
    for state in node.state if isinstance(node, Call) else ():
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, Map):
                part.pairs[:] = [(name, new.get(name, value)) for name, value in part.pairs]


def _rename(root: Node, form: Form) -> None:
    """Move keys wherever the index has them: as keys, in index entries, at the end of paths.

    A key that the form does not have goes, with what is stored for it.
    """
    for node in list(nodes.every(root)):
        if isinstance(node, (Map, Call)):
            kept = [(key, value) for key, value in node.pairs if not _gone(key, form)]
            node.pairs[:] = [(_moved(key, form), _moved(value, form)) for key, value in kept]


def _gone(key: Node, form: Form) -> bool:
    named = key if isinstance(key, str) else objects.attributes(key).get("fqn")
    return isinstance(named, str) and states.is_state(named) and forms.moved(named, form) is None


def _moved(node: Node, form: Form) -> Node:
    if isinstance(node, str) and states.is_state(node):
        return forms.moved(node, form) or node
    if isinstance(node, tuple) and any(states.is_state(part) for part in node):
        return tuple(_moved(part, form) for part in node)
    return node
