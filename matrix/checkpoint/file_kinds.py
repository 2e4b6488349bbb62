"""Refusals of files that are no checkpoints: by what they are, where that can be told."""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from matrix.catalogue import file_kinds
from matrix.catalogue.file_kinds import FileKind
from matrix.checkpoint import zips
from matrix.checkpoint.errors import CheckpointError, Malformed

_DIRECTORY = 1 << 20
"""The number of bytes at the end of an archive that are searched for names of entries."""
_TENSORS = ".safetensors"
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
        if error.cut_short:
            raise CheckpointError(
                f"{file} is not whole: {error}",
                why="it was cut short: a copy or download was interrupted, or a disk was full",
                do="Copy or download it again, or name an earlier checkpoint",
            ) from error
        kind = _kind_of(file)
        if kind is None:
            raise
        what = f"{kind.name} ({error})" if kind.entry else kind.name
        raise CheckpointError(
            f"{file} is no checkpoint that can be read: it is {what}", do=kind.do
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
        return _kind_of_zip(_names(stream), file.suffix)


def _names(stream: BinaryIO) -> list[str]:
    """Return the names of a zip archive's entries, as far as its end lists them.

    Archives come here that are refused for good reasons, so nothing but a message may depend on
    this.
    """
    stream.seek(max(0, stream.seek(0, 2) - _DIRECTORY))
    tail = stream.read(_DIRECTORY)
    places = (match.start() for match in re.finditer(re.escape(b"PK\x01\x02"), tail))
    lengths = ((n, int.from_bytes(tail[n + 28 : n + 30], "little")) for n in places)
    return [tail[n + 46 : n + 46 + length].decode("latin-1") for n, length in lengths]


def _kind_of_zip(names: Sequence[str], suffix: str) -> FileKind | None:
    known = file_kinds.by_entries(names)
    if known:
        return known
    if any(name.endswith("data.pkl") for name in names):
        other = "a torch.save file under another name"
        return FileKind(name=other, do="Let its name end in .pt") if suffix == _TENSORS else None
    return FileKind(
        name="a zip archive that torch.save did not write",
        entry=".",
        do="Unpack it with unzip, and name the checkpoint in it",
    )


def special(mode: int) -> str | None:
    """Return what a path is that is neither a file nor a folder, or None if it is either.

    :param mode: ``st_mode`` of the path.
    """
    return next((name for is_such, name in _SPECIAL if is_such(mode)), None)
