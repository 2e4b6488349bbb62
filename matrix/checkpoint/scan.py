"""A checkpoint on disk, whatever its format: its keys, its extra states, what it names.

One file of a folder is read after the other; of each only its pickle and the extra states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from matrix.checkpoint import distributed, folders, limits, objects, safetensors, states, torchfile
from matrix.checkpoint.limits import Budget, CheckpointError, Malformed
from matrix.checkpoint.nodes import Call, Map, Node
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.torchfile import TorchFile

_PLACE = 200


@dataclasses.dataclass
class Scan:
    """What a checkpoint holds, apart from its weights.

    :param keys: number of keys whose values are tensors or extra states.
    :param classes: Transformer Engine's classes and functions that its pickles name;
        ``weights`` are those that rebuild its values, quantized weights for instance.
    :param strangers: what its pickles name beside those and what rebuilds tensors, with
        ``()`` where loading would call it.
    :param notes: what a reader should know about the format.
    """

    path: Path
    format: str
    files: int = 0
    keys: int = 0
    states: list[ExtraState] = dataclasses.field(default_factory=list)
    classes: set[str] = dataclasses.field(default_factory=set)
    weights: set[str] = dataclasses.field(default_factory=set)
    strangers: set[str] = dataclasses.field(default_factory=set)
    notes: list[str] = dataclasses.field(default_factory=list)
    rebuilt_from: set[int] = dataclasses.field(default_factory=set)
    """Numbers of arguments that quantized weights are rebuilt from."""

    def take(self, file: str, source: TorchFile) -> None:
        """Add one ``torch.save`` file."""
        self.files += 1
        self.name(source.root)
        for inside, pairs in mappings(source.root):
            for key, value in pairs:
                if states.is_state(key):
                    state = states.decode(key, file, value, source)
                    self.add(dataclasses.replace(state, inside=inside))
                elif objects.tensor(value) is not None:
                    self.keys += 1
                elif named := objects.te_class(value):
                    self.keys += 1
                    self.weights.add(str(named))
                    if isinstance(value.arguments, tuple):
                        self.rebuilt_from.add(len(value.arguments))

    def name(self, root: Node) -> None:
        """Note what a pickle names."""
        self.classes |= objects.te_names([root])
        self.strangers.update(objects.strangers(root))

    def add(self, state: ExtraState) -> None:
        """Add one extra state."""
        self.keys += 1
        self.states.append(state)
        self.classes |= state.classes
        self.strangers.update(state.strangers)


def mappings(root: Node) -> Iterator[tuple[str, list[tuple[Node, Node]]]]:
    """Yield every mapping that is reached from the top through mappings and lists.

    A Lightning or Megatron-LM file keeps the model's under ``state_dict`` or ``model``.

    :returns: where it is, e.g. ``optimizer_states.0``, and its items, open to change.
    """
    seen: set[int] = set()
    left: list[tuple[str, Node]] = [("", root)]
    while left:
        inside, node = left.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        pairs = objects.pairs_of(node)
        if pairs is not None:
            yield inside, pairs
            below = pairs
        else:
            below = list(enumerate(node)) if isinstance(node, list) else []
        left.extend(
            (f"{inside}.{key}".lstrip(".")[:_PLACE], value)
            for key, value in reversed(below)
            if isinstance(key, (str, int)) and isinstance(value, (Map, Call, list))
        )


def scan(path: Path, name: str | None = None) -> Scan:
    """Read a checkpoint, executing nothing of it and leaving the weights alone.

    :param name: the file's name, where ``path`` does not say it.
    :raises CheckpointError: it is none, is not whole, or cannot be read.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if not path.is_file():
            raise CheckpointError(
                f"{path} is no file or folder",
                why="it does not exist, or is a link that leads nowhere",
                do="Name a checkpoint",
            )
        return _file(path, name or path.name)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}", do="See to its rights") from error


def _file(path: Path, name: str) -> Scan:
    if name.endswith(".safetensors"):
        found = Scan(path, "safetensors")
        _safetensors(found, path, name)
        return found
    with path.open("rb") as stream:
        source = _torch(path, stream)
        found = Scan(path, source.kind)
        found.take(name, source)
        fields = objects.fields(source.root) or {}
        if "pytorch-lightning_version" in fields:
            found.format += ", Lightning"
    return found


def _torch(path: Path, stream: BinaryIO, budget: Budget | None = None) -> TorchFile:
    try:
        return torchfile.read(stream, budget)
    except Malformed as error:
        raise CheckpointError(
            f"{path} is no checkpoint that can be read: {error}",
            why="it is of another kind, was cut short, or was made to do harm",
            do="Name a torch.save or safetensors file, or a folder of a sharded checkpoint",
        ) from error


def _safetensors(found: Scan, path: Path, name: str) -> None:
    found.files += 1
    with path.open("rb") as stream:
        try:
            header = safetensors.read(stream)
            for _key, state in safetensors.states_of(header, stream, name):
                found.add(state)
        except Malformed as error:
            raise CheckpointError(
                f"{path} is no safetensors file: {error}",
                why="it was cut short, or is of another kind",
                do="Name a whole file",
            ) from error
    found.keys += len(header.tensors) - len(found.states)
    if safetensors.NOTE not in found.notes:
        found.notes.append(safetensors.NOTE)


def _folder(path: Path) -> Scan:
    layout = folders.layout(path)
    budget = Budget(limits.FOLDER_OPCODES)
    found = Scan(path, layout.format)
    for index in layout.indexes:
        try:
            _distributed(found, path, index, budget)
        except Malformed as error:
            raise CheckpointError(
                f"{index} is no index of a distributed checkpoint: {error}",
                why="it was cut short, or was made to do harm",
                do="Restore it, or name another checkpoint",
            ) from error
    for file in layout.files:
        name = file.relative_to(path).as_posix()
        if file.suffix == ".safetensors":
            _safetensors(found, file, name)
            continue
        with file.open("rb") as stream:
            source = _torch(file, stream, budget)
            if key := folders.shard_key(file):
                found.files += 1
                found.name(source.root)
                found.add(states.decode(key, name, source.root, source))
            else:
                found.take(name, source)
    return found


def _distributed(found: Scan, path: Path, index: Path, budget: Budget) -> None:
    metadata = distributed.read(index)
    found.files += 1 + len(metadata.files)
    found.name(metadata.root)
    found.keys += len(metadata.keys)
    for item in metadata.items:
        if states.is_state(item.key):
            found.keys -= 1
            name = (index.parent / item.file).relative_to(path).as_posix()
            found.add(distributed.decode(index.parent, item, name, budget))
