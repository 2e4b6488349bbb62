"""The protocol of file formats: recognise a file, read it, write it with edited states."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from matrix.catalogue.forms import Form
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.copying import Copied
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.quantized.changes import WeightChange

GROWTH = 4096
"""The most bytes that a rewritten state takes in addition to its payload."""


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where a checkpoint is written; paths are relative to the checkpoint."""

    open: Callable[[str], AbstractContextManager[BinaryIO]]
    """Return a new file at a path, open for writing and reading."""
    place: Callable[[Path, str], None]
    """Copy or link an unchanged file to a path, unless a file was opened there."""
    copied: Copied


class Format(Protocol):
    """A file format."""

    @abstractmethod
    def claims(self, file: Path) -> bool:
        """Return whether a file in a folder has this format, by its name and parent folder."""

    @abstractmethod
    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Add the content of a file to that of the checkpoint.

        :param budget: what may still be read of the checkpoint's pickles.
        :returns: the kind of the file, as text for users.
        :raises CheckpointError: the file does not have this format, or is incomplete.
        """

    @abstractmethod
    def write(
        self,
        part: Part,
        edits: Sequence[Edit],
        form: Form,
        to: Destination,
        weights: WeightChange | None = None,
    ) -> None:
        """Write a file with edited extra states.

        :param edits: one for each of its extra states, in the order of reading.
        :param form: the form that the states are rewritten into.
        :param weights: what becomes of its quantized weights; None: they stay as they are.
        :raises CheckpointError: the file cannot be reproduced.
        :raises Malformed: it can no longer be read.
        """

    def edits(self, part: Part, by_part: Mapping[str, Sequence[Edit]]) -> Sequence[Edit]:
        """Return the edits that concern a file: those of the states that were read from it.

        :param by_part: the edits by name of the part that the state was read from.
        """
        return by_part.get(part.name, ())

    def size(self, part: Part, edits: Sequence[Edit]) -> int:
        """Return the number of bytes that a file takes at most when it is written with edits."""
        payloads = sum(len(edit.payload or b"") + GROWTH for edit in edits)
        return part.file.stat().st_size + payloads

    def rewrites(self, edits: Sequence[Edit]) -> bool:
        """Return whether these edits require a file to be written, rather than copied or linked."""
        return any(edit.changes for edit in edits)

    def new_name(self, edit: Edit) -> str:
        """Return the file that contains a state after an edit, relative to the checkpoint."""
        return edit.state.file


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a checkpoint that is read by its format."""

    file: Path
    name: str
    """Its path relative to the checkpoint."""
    format: Format
