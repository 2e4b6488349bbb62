"""Arrays of Megatron-LM's ``zarr`` checkpoints: folders of chunks, described by ``.zarray``.

They hold weights. The extra states beside them are files of ``torch.save`` (state_shard).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matrix.catalogue.forms import Form
from matrix.checkpoint import json_objects
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.quantized.changes import WeightChange

NAME = ".zarray"
_BYTES = 1 << 20
_NOTE = (
    "zarr lays a chunk of an array down only where it differs from the fill value, so a missing "
    "chunk of weights cannot be told"
)


class ZarrArray(Format):
    """The description of one array, which is one key of the checkpoint."""

    def claims(self, file: Path) -> bool:
        """Return whether a file describes an array, by its name."""
        return file.name == NAME

    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Count the array as a key.

        :raises CheckpointError: it is no description of an array.
        """
        try:
            if part.file.stat().st_size > _BYTES:
                raise Malformed("it is larger than any")
            if "shape" not in json_objects.read(part.file.read_bytes(), budget):
                raise Malformed("it has no shape")
        except Malformed as error:
            raise CheckpointError(
                f"{part.file} does not describe an array: {error}",
                why="it was cut short",
                do="Restore it",
            ) from error
        contents.files += 1
        contents.keys += 1
        contents.add_note(_NOTE)
        return "zarr"

    def write(
        self,
        part: Part,
        edits: Sequence[Edit],
        form: Form,
        to: Destination,
        weights: WeightChange | None = None,
    ) -> None:
        """Refuse: no extra state is in an array, so it is always copied as it is."""
        raise AssertionError(f"{part.name} holds no state, so there was nothing to write")
