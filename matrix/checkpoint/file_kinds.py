"""Refusals of files that are no checkpoints: by what they are, where that can be told."""

from __future__ import annotations

import contextlib
import itertools
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from matrix.catalogue import file_kinds
from matrix.catalogue.file_kinds import FileKind
from matrix.checkpoint import zips
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.zips import Zip

_ENTRIES = 10_000
"""The number of entries of an archive that are looked at."""
_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Raise :class:`Malformed` on as a refusal that names what the file is, if that is known.

    :raises CheckpointError: it is known to be of another kind.
    :raises Malformed: it is not.
    """
    try:
        yield
    except Malformed as error:
        kind = _kind_of(file)
        if kind is None:
            raise
        raise CheckpointError(
            f"{file} is no checkpoint that can be read: it is {kind.name}",
            do=kind.do,
        ) from error


def kind_of(file: Path) -> str | None:
    """Return what a file is that is no checkpoint, or None if that is not known."""
    kind = _kind_of(file)
    return kind.name if kind else None


def _kind_of(file: Path) -> FileKind | None:
    with file.open("rb") as stream:
        head = stream.read(file_kinds.HEAD)
        if not head:
            return FileKind(name="empty", do="Copy or download it again")
        if not zips.is_zip(head):
            return file_kinds.by_start(head, file.suffix)
        with contextlib.suppress(Malformed):
            return _kind_of_zip([*itertools.islice(Zip(stream).entries, _ENTRIES)])
    return None


def _kind_of_zip(names: Sequence[str]) -> FileKind | None:
    known = file_kinds.by_entries(names)
    if known or any(name.endswith("data.pkl") for name in names):
        return known
    return FileKind(
        name="a zip archive that torch.save did not write",
        do="Unpack it with unzip, and name the checkpoint in it",
    )


def special(mode: int) -> str | None:
    """Return what a path is that is neither a file nor a folder, or None if it is either.

    :param mode: ``st_mode`` of the path.
    """
    return next((name for is_such, name in _SPECIAL if is_such(mode)), None)
