"""Files of ``torch.save``, with state dicts at any depth of mappings and lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from matrix.catalogue.forms import Form
from matrix.checkpoint import copying, names, objects, states, torch_writing, torchfile
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.copying import Copied
from matrix.checkpoint.edits import Edit, by_place
from matrix.checkpoint.errors import refusing_malformed
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.torchfile import Storages, TorchFile

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

    def write(self, part: Part, edits: Sequence[Edit], form: Form, to: Destination) -> None:
        """Write the file with edits applied, and check that tensors are unchanged.

        :raises CheckpointError: the pickle cannot be reproduced, or a tensor differs.
        :raises Malformed: the file can no longer be read.
        """
        with part.file.open("rb") as stream, to.open(part.name) as out:
            source = torchfile.read(stream)
            torch_writing.write(source, by_place(edits), out, to.copied)
            out.flush()
            before = _digests(source.storages, to.copied)
            after = _digests(torchfile.read(out).storages, to.copied)
        replaced = before.keys() - torch_writing.storage_keys(source.root)
        copying.compare(before, after, replaced, str(part.file))


def read_file(part: Part, stream: BinaryIO, budget: Budget) -> TorchFile:
    """Read the pickle of a file.

    :raises CheckpointError: the file does not have this format, or is incomplete.
    """
    with refusing_malformed(
        f"{part.file} is no checkpoint that can be read",
        why="it is of another kind, was cut short, or was made to do harm",
        do="Name a torch.save or safetensors file, or a folder of a sharded checkpoint",
    ):
        return torchfile.read(stream, budget)


def add(source: TorchFile, name: str, contents: Contents) -> None:
    """Add the content of a file to that of a checkpoint.

    :param name: the path of the file, relative to the checkpoint.
    """
    contents.files += 1
    for inside, pairs in objects.mappings(source.root):
        for key, value in pairs:
            if states.is_state(key):
                state = states.decode(key, name, value, source)
                contents.add_state(dataclasses.replace(state, inside=inside))
            elif objects.tensor(value) is not None:
                contents.keys += 1
            elif rebuilt_by := names.te_class(value):
                contents.keys += 1
                contents.weights.add(str(rebuilt_by))
                if isinstance(value.arguments, tuple):
                    contents.rebuilt_from.add(len(value.arguments))


def _digests(storages: Storages, copied: Copied) -> dict[str, str]:
    return {key: copying.digest(storages.chunks(key), copied) for key in storages}
