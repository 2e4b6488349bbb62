"""Files of ``torch.save``, with state dicts at any depth of mappings and lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from matrix.catalogue.forms import Form
from matrix.checkpoint import (
    file_kinds,
    mappings,
    names,
    objects,
    states,
    torch_writing,
    torchfile,
    zips,
)
from matrix.checkpoint.contents import Contents, TensorKind
from matrix.checkpoint.edits import Edit, by_place
from matrix.checkpoint.errors import refusing_malformed
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.zips import Zip

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


class TorchSave(Format):
    """A file of ``torch.save``, zip or legacy, or a plain pickle."""

    def claims(self, file: Path) -> bool:
        """Return whether a file has this format, by its suffix."""
        return file.suffix in SUFFIXES

    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Add the keys and extra states of every state dict in the file.

        :raises CheckpointError: it cannot be read.
        """
        with part.file.open("rb") as stream:
            source = read_file(part, stream, budget)
            add(source, part.name, contents)
        top = objects.fields(source.root) or {}
        lightning = ", Lightning" if "pytorch-lightning_version" in top else ""
        return f"{source.storages.kind.value}{lightning}"

    def size(self, part: Part, edits: Sequence[Edit]) -> int:
        """Return the number of bytes that a file takes at most when it is written with edits.

        :raises Malformed: it can no longer be read.
        """
        own = part.file.stat().st_size
        return super().size(part, edits) + max(0, written_size(part.file) - own)

    def write(
        self,
        part: Part,
        edits: Sequence[Edit],
        form: Form,
        to: Destination,
        weights: WeightChange | None = None,
    ) -> None:
        """Write the file with edits applied.

        :raises CheckpointError: the pickle cannot be reproduced, or what was written differs.
        :raises Malformed: the file can no longer be read.
        """
        with part.file.open("rb") as stream, to.open(part.name) as out:
            source = torchfile.read(stream)
            torch_writing.write(source, by_place(edits), out, to.copied, weights)


_ENTRY = 256
"""The most bytes that an entry of a zip archive takes beside name and content."""


def written_size(file: Path) -> int:
    """Return the most bytes that a file takes when it is written anew with the same content.

    :raises Malformed: it is a zip archive that cannot be read.
    """
    with file.open("rb") as stream:
        if not zips.is_zip(stream.read(4)):
            return file.stat().st_size
        entries = Zip(stream).entries.values()
        return sum(entry.size + 2 * len(entry.name) + _ENTRY for entry in entries)


def read_file(part: Part, stream: BinaryIO, budget: Budget) -> TorchFile:
    """Read the pickle of a file.

    :raises CheckpointError: the file does not have this format, or is incomplete.
    """
    with (
        refusing_malformed(
            f"{part.file} is no checkpoint that can be read",
            why="it is of another kind, was cut short, or was made to do harm",
            do="Name a torch.save or safetensors file, or a folder of a sharded checkpoint",
        ),
        file_kinds.naming(part.file),
    ):
        return torchfile.read(stream, budget)


def add(source: TorchFile, name: str, contents: Contents) -> None:
    """Add the content of a file to that of a checkpoint.

    :param name: the path of the file, relative to the checkpoint.
    """
    contents.files += 1
    _add_ranks(objects.fields(source.root) or {}, contents)
    contents.quantized.add(source, name)
    weights: list[tuple[str, str]] = []
    holding: set[str] = set()
    for inside, pairs in mappings.mappings(source.root):
        for key, value in pairs:
            if states.is_state(key):
                state = states.decode(key, name, value, source)
                contents.add_state(dataclasses.replace(state, inside=inside))
                holding.add(inside)
            elif tensor := objects.tensor(value):
                contents.keys += 1
                if isinstance(key, str):
                    contents.tensors[key] = TensorKind(len(tensor.shape))
                    if key.rpartition(".")[2] == _WEIGHT and len(tensor.shape) == 1:
                        weights.append((key, inside))
            elif rebuilt_by := names.te_class(value):
                contents.keys += 1
                if isinstance(key, str):
                    contents.tensors[key] = TensorKind(None, names.rebuilt_by(value))
                contents.weights.add(str(rebuilt_by))
                if isinstance(value.arguments, tuple):
                    contents.rebuilt_from.add(len(value.arguments))
            elif key == _PICKLED_MODULE:
                contents.add_note(_WHOLE)
    for key, inside in weights:
        if inside in holding or not holding:
            places = contents.weight_places.setdefault(key.rpartition(".")[0], [])
            places.append((name, inside))


_WEIGHT = "weight"
_PICKLED_MODULE = "fp8_meta"
"""Attribute of Transformer Engine's modules that holds their FP8 state."""
_WHOLE = (
    "it holds whole modules of Transformer Engine, pickled with their code's names; their FP8 "
    "state is no extra state, and was not read: save the state_dict of the model instead"
)
_RANKS = {
    "tensor_model_parallel_size": "tensor",
    "pipeline_model_parallel_size": "pipeline",
    "expert_model_parallel_size": "expert",
    "mp_world_size": "tensor",
    "dp_world_size": "data",
}
"""Where checkpoints state numbers of ranks: Megatron-LM's arguments, DeepSpeed's own fields."""
_MOST_RANKS = 1 << 20


def _add_ranks(top: Mapping[str, Node], contents: Contents) -> None:
    """Add the numbers of ranks that a file states."""
    for name, value in (*objects.attributes(top.get("args")).items(), *top.items()):
        if name in _RANKS and isinstance(value, int) and 0 < value < _MOST_RANKS:
            axis = _RANKS[name]
            contents.ranks[axis] = max(value, contents.ranks.get(axis, 0))
