"""Files of ``torch.save`` that contain one extra state only: ``<key>/shard_I_N.pt``.

Megatron-LM's zarr checkpoints, which NeMo writes too, store extra states in this way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from matrix.catalogue.forms import Form
from matrix.checkpoint import states, torch_writing, torchfile
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.formats import torch_save
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.quantized.changes import WeightChange

NAME = re.compile(r"^shard_(?P<place>[\d.]+)_(?P<total>[\d.]+)\.pt$")


class StateShard(Format):
    """A file with one shard of one extra state."""

    def claims(self, file: Path) -> bool:
        """Return whether a file has this format, by its folder and name."""
        return states.is_state(file.parent.name) and NAME.match(file.name) is not None

    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Add the extra state.

        :raises CheckpointError: the file cannot be read.
        """
        key = f"{part.file.parent.name}/{part.file.stem}"
        with part.file.open("rb") as stream:
            source = torch_save.read_file(part, stream, budget)
            contents.files += 1
            contents.add_state(states.decode(key, part.name, source.root, source))
        return source.storages.kind.value

    def new_name(self, edit: Edit) -> str:
        """Return the file that contains the state after an edit; the key names its folder."""
        if edit.new_key is None:
            return edit.state.file
        key, _, shard = edit.new_key.rpartition("/")
        return (PurePosixPath(edit.state.file).parent.parent / key / f"{shard}.pt").as_posix()

    def write(
        self,
        part: Part,
        edits: Sequence[Edit],
        form: Form,
        to: Destination,
        weights: WeightChange | None = None,
    ) -> None:
        """Write the file, or place it under its new key; omit it if the state is removed.

        :raises CheckpointError: it cannot be written.
        :raises Malformed: it can no longer be read.
        """
        (edit,) = edits
        if edit.new_key is None:
            return
        name = self.new_name(edit)
        if edit.payload is None:
            to.place(part.file, name)
            return
        with part.file.open("rb") as stream, to.open(name) as out:
            torch_writing.write_state(edit, torchfile.read(stream), out)
