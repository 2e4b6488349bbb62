"""``torch.save`` files written anew with edited extra states and otherwise unchanged.

Tensors are copied byte for byte. The pickle is written from inert values, then parsed and
compared with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from matrix.catalogue.state_keys import EXTRA_STATE
from matrix.checkpoint import emit, mappings, nodes, pickles, states, torchfile
from matrix.checkpoint.added import AddedStorages, storage_keys
from matrix.checkpoint.copying import Content, Copied, NewContent, Output
from matrix.checkpoint.edits import Edit, Edits
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.spans import FileRange
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.words import Step


def write(
    source: TorchFile,
    edits: Edits,
    out: BinaryIO,
    copied: Copied,
    weights: WeightChange | None = None,
) -> None:
    """Write a ``torch.save`` file with edits applied; this modifies ``source.root``.

    It is written behind the end of ``out``, and read back.

    :param out: a file, open for writing and reading.
    :param weights: what becomes of its quantized weights; None: they stay as they are.
    :raises CheckpointError: its pickle cannot be reproduced, or a weight not be changed.
    :raises Malformed: a storage cannot be read.
    """
    added = AddedStorages(source)
    if weights is not None:
        weights.apply(source, added)
    for inside, pairs in list(mappings.mappings(source.root)):
        pairs[:] = _edited(inside, pairs, edits, added)
    output = Output(out, copied)
    places = _write_root(source, source.root, added.storages, output)
    _check_places(output, places)


def _check_places(output: Output, places: Mapping[str, int]) -> None:
    """Check that readers find every storage where it was written, as it was compared there."""
    written = torchfile.read(FileRange(output.stream, output.start, output.size)).storages
    if {key: written.span(key).start for key in written} != places:
        raise CheckpointError("what was written holds other tensors than it should", do="Report it")


def write_state(edit: Edit, source: TorchFile, out: BinaryIO) -> None:
    """Write a file of the same kind as ``source`` that holds an edited state and nothing else.

    :raises CheckpointError: files of its kind are not written.
    """
    added = AddedStorages(source)
    root = _state(edit, added)
    _write_root(source, root, added.storages, Output(out))


def _write_root(
    source: TorchFile, root: Node, added: Mapping[str, Content], out: Output
) -> Mapping[str, int]:
    new = NewContent(verified_pickle(root, source.protocol), storage_keys(root), added)
    return source.storages.write(new, out)


def _state(edit: Edit, added: AddedStorages) -> Node:
    """Return the new value of a state: a byte tensor on a new storage."""
    data = edit.payload
    assert data is not None
    tensor = added.add("uint8", (len(data),), Content.of(data))
    return [tensor] if edit.state.in_list else tensor


def _edited(
    inside: str, pairs: list[tuple[Node, Node]], edits: Edits, added: AddedStorages
) -> list[tuple[Node, Node]]:
    kept = []
    for key, value in pairs:
        edit = edits.get((inside, key)) if states.is_state(key) else None
        if edit is None:
            kept.append((key, value))
        elif edit.new_key is not None:
            new = value if edit.payload is None else _state(edit, added)
            kept.append((edit.new_key, new))
    for (place, new_key), edit in edits.items():
        # Attributes of a state dict are a mapping with the same label.
        if place == inside and Step.ADD_KEY in edit.steps and _has_weight(pairs, new_key):
            kept.append((new_key, _state(edit, added)))
    return kept


def _has_weight(pairs: list[tuple[Node, Node]], state_key: str) -> bool:
    weight = state_key.replace(EXTRA_STATE, "weight")
    return any(key == weight for key, _value in pairs if isinstance(key, str))


def verified_pickle(root: Node, protocol: int) -> bytes:
    """Return a pickle of ``root``, after checking that parsing it gives ``root`` again.

    :raises CheckpointError: it does not, or ``root`` cannot be pickled.
    """
    try:
        written = emit.emit(root, protocol)
        same = nodes.same(pickles.read(written).root, root)
    except Malformed as error:
        raise CheckpointError(
            f"the checkpoint's pickle cannot be written again: {error}",
            do="Inspect it; rewrite it in memory with the release that saved it",
        ) from error
    if not same:
        raise CheckpointError("the checkpoint's pickle does not survive being written again")
    return written
