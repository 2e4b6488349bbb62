"""``torch.save`` files written anew with edited extra states and otherwise unchanged.

Tensors are copied byte for byte. The pickle is written from inert values, then parsed and
compared with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from matrix.catalogue.state_keys import EXTRA_STATE
from matrix.checkpoint import emit, encoding, mappings, nodes, pickles, states, torch_legacy
from matrix.checkpoint.copying import Copied, NewContent
from matrix.checkpoint.edits import Edit, Edits
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.nodes import Global, Node
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.words import Step, TorchKind

_DIGITS = 19
"""A longer number is not the next of any that PyTorch counts."""


def write(source: TorchFile, edits: Edits, out: BinaryIO, copied: Copied) -> None:
    """Write a ``torch.save`` file with edits applied; this modifies ``source.root``.

    :raises CheckpointError: its pickle cannot be reproduced.
    :raises Malformed: a storage cannot be read.
    """
    added = _Added(source)
    for inside, pairs in list(mappings.mappings(source.root)):
        pairs[:] = _edited(inside, pairs, edits, added)
    _write_root(source, source.root, added.storages, out, copied)


def write_state(edit: Edit, source: TorchFile, out: BinaryIO) -> None:
    """Write a file of the same kind as ``source`` that holds an edited state and nothing else.

    :raises CheckpointError: files of its kind are not written.
    """
    added = _Added(source)
    root = added.state(edit)
    _write_root(source, root, added.storages, out, lambda _size: None)


def _write_root(
    source: TorchFile, root: Node, added: Mapping[str, bytes], out: BinaryIO, copied: Copied
) -> None:
    new = NewContent(verified_pickle(root, source.protocol), storage_keys(root), added)
    source.storages.write(new, out, copied)


class _Added:
    """The storages that are added to a file."""

    def __init__(self, source: TorchFile) -> None:
        self._legacy = source.storages.kind is not TorchKind.ZIP
        keys = storage_keys(source.root)
        numbers = (int(key) for key in keys if key.isdecimal() and len(key) < _DIGITS)
        self._next = 1 + max(numbers, default=0)
        self.storages: dict[str, bytes] = {}

    def state(self, edit: Edit) -> Node:
        """Return the new value of a state: a byte tensor on a new storage."""
        data = edit.payload
        assert data is not None
        key = str(self._next)
        self._next += 1
        self.storages[key] = data
        storage = torch_legacy.storage_id("uint8", key, len(data), legacy=self._legacy)
        tensor = encoding.tensor_call(storage, (len(data),))
        return [tensor] if edit.state.in_list else tensor


def _edited(
    inside: str, pairs: list[tuple[Node, Node]], edits: Edits, added: _Added
) -> list[tuple[Node, Node]]:
    kept = []
    for key, value in pairs:
        edit = edits.get((inside, key)) if states.is_state(key) else None
        if edit is None:
            kept.append((key, value))
        elif edit.new_key is not None:
            new = value if edit.payload is None else added.state(edit)
            kept.append((edit.new_key, new))
    for (place, new_key), edit in edits.items():
        # Attributes of a state dict are a mapping with the same label.
        if place == inside and Step.ADD_KEY in edit.steps and _has_weight(pairs, new_key):
            kept.append((new_key, added.state(edit)))
    return kept


def _has_weight(pairs: list[tuple[Node, Node]], state_key: str) -> bool:
    weight = state_key.replace(EXTRA_STATE, "weight")
    return any(key == weight for key, _value in pairs if isinstance(key, str))


def storage_keys(root: Node) -> set[str]:
    """Return the keys of the storages that a pickle refers to."""
    found = set()
    for node in nodes.every(root):
        if isinstance(node, nodes.Persistent):
            match node.id:
                case ("storage", Global(), str() as key, *_):
                    found.add(key)
    return found


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
