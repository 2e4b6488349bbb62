"""What every format of checkpoint files can do: recognise a file, read it, write it anew."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from matrix.catalogue.forms import Form
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.copying import Copied
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.limits import Budget


@dataclasses.dataclass(frozen=True)
class Destination:
    """Where a checkpoint is written.

    :param open: return a new file, open to be written and read, by its path relative to the
        checkpoint.
    :param place: put an unchanged file there, under such a path.
    """

    open: Callable[[str], AbstractContextManager[BinaryIO]]
    place: Callable[[Path, str], None]
    copied: Copied


class Format(Protocol):
    """One format."""

    @abstractmethod
    def claims(self, file: Path) -> bool:
        """Tell by its name and folder whether a file of a folder is in this format."""

    @abstractmethod
    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Add what a file holds to the checkpoint's contents.

        :returns: what kind of file it is, for people.
        :raises CheckpointError: the file is not in this format, or is not whole.
        """

    @abstractmethod
    def write(self, part: Part, edits: Sequence[Edit], form: Form, to: Destination) -> None:
        """Write a file anew with its extra states edited.

        :param edits: one for each of its extra states, in their order.
        :param form: the form that the states are rewritten into.
        :raises CheckpointError: it cannot be written faithfully.
        :raises Malformed: it cannot be read any more.
        """

    def rewrites(self, edits: Sequence[Edit]) -> bool:
        """Tell whether a file with these edits is written anew, rather than placed as it is."""
        return any(edit.changes for edit in edits)

    def new_name(self, edit: Edit) -> str:
        """Return the file that a state lies in afterwards, relative to the checkpoint."""
        return edit.state.file


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a checkpoint that is read on its own.

    :param name: the file's path, relative to the checkpoint.
    """

    file: Path
    name: str
    format: Format
