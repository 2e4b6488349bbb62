"""New files and folders that appear under their name when they are complete, or never."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from matrix.checkpoint.copying import Copied, Output, pieces
from matrix.checkpoint.errors import CheckpointError, refusing_unwritable
from matrix.checkpoint.spans import Span
from matrix.system import cleanup

Unchanged = Literal["copy", "link", "reflink"]
"""How unchanged files get into the new folder."""

_PREFIX = ".te-matrix-"
"""Prefix of what is being written; without the final name, to which nothing could be added
where it is as long as the file system allows."""
_FICLONE = 0x40049409  # linux/fs.h
_MARGIN = 16 << 20
_NOTHING_LEFT = "See to space and rights; nothing is left of it"


def check(path: Path, out: Path) -> None:
    """Check that ``out`` can be made: it is new, its name is possible, and its folder writable.

    :param path: the checkpoint; ``out`` must not lie inside it.
    :raises CheckpointError: it cannot be written.
    """
    if "\0" in str(out):
        raise CheckpointError(
            f"{out} is no possible name", why="it holds a NUL character", do="Name another"
        )
    try:
        _check_name(path, out)
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        raise CheckpointError(
            f"{out} cannot be written: {error}",
            why="the file system refuses such a name or path",
            do="Name another",
        ) from error


def _check_name(path: Path, out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise CheckpointError(
            f"{out} exists",
            why="only a new file or folder is written",
            do="Name another, or move it",
        )
    if not out.parent.is_dir():
        raise CheckpointError(f"{out.parent} is no folder", do="Create it first")
    if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
        raise CheckpointError(f"{out} lies inside {path}", do="Name a folder outside of it")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise CheckpointError(
            f"{out} cannot be written: nothing may be written to {out.parent}",
            why="it is mounted read-only, or belongs to somebody else",
            do="Name another place",
        )


def check_space(out: Path, size: int) -> None:
    """Check that there is space for ``size`` bytes where ``out`` will be.

    :raises CheckpointError: there is not.
    """
    with refusing_unwritable(out.parent):
        free = shutil.disk_usage(out.parent).free
    if free < size + _MARGIN:
        raise CheckpointError(
            f"{out.parent} has {free >> 20} MiB free, and {(size + _MARGIN) >> 20} MiB are needed",
            do="Free space, name a place on another disk, or use --unchanged link for a folder",
        )


@contextlib.contextmanager
def new_file(out: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a file to write, and a path to read it by; on success it gets the name ``out``.

    Where the file system supports it (O_TMPFILE), the file has no name until then, so that
    even a killed process leaves nothing behind.

    :raises CheckpointError: ``out`` exists by then, or cannot be written.
    """
    with refusing_unwritable(out.parent):
        stream, temporary = _open(out)
    readable = temporary or Path(f"/proc/self/fd/{stream.fileno()}")
    try:
        with refusing_unwritable(out, _NOTHING_LEFT), stream:
            yield stream, readable
            stream.flush()
            os.fsync(stream.fileno())
            _name(readable, out)
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def _open(out: Path) -> tuple[BinaryIO, Path | None]:
    if hasattr(os, "O_TMPFILE"):
        with contextlib.suppress(OSError):
            handle = os.open(out.parent, os.O_TMPFILE | os.O_RDWR, 0o644)
            return os.fdopen(handle, "w+b"), None
    cleanup.sweep(out.parent, _PREFIX)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=cleanup.mark(_PREFIX))
    os.fchmod(handle, 0o644)
    return os.fdopen(handle, "w+b"), Path(name)


def _name(readable: Path, out: Path) -> None:
    """Give the file its name, unless it has been taken meanwhile."""
    folder = os.open(out.parent, os.O_PATH)
    try:
        # Python follows the link in /proc to the file only if a folder descriptor is given.
        os.link(readable, out, src_dir_fd=folder, follow_symlinks=True)
    except FileExistsError as error:
        raise CheckpointError(f"{out} came into being meanwhile", do="Name another") from error
    finally:
        os.close(folder)


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it gets the name ``out``, otherwise it is removed.

    A killed process leaves it under a name that begins with a dot. The next process that
    writes to the same place removes that if it can tell that the other has ended: not from
    another machine or container, whose folders are left alone.

    :raises CheckpointError: it cannot be written.
    """
    with refusing_unwritable(out.parent):
        cleanup.sweep(out.parent, _PREFIX)
        folder = out.parent / f"{cleanup.mark(_PREFIX)}{secrets.token_hex(4)}"
        folder.mkdir()
    try:
        with refusing_unwritable(out, _NOTHING_LEFT):
            yield folder
            _rename(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rename(folder: Path, out: Path) -> None:
    """Give the folder its name, unless it has been taken meanwhile."""
    if out.is_symlink() or out.exists():  # an empty folder would be replaced without a word
        raise CheckpointError(f"{out} came into being meanwhile", do="Name another")
    folder.rename(out)


def place(source: Path, new: Path, how: Unchanged, copied: Copied) -> None:
    """Copy, link or reflink an unchanged file into the new folder.

    :raises CheckpointError: the file system does not support it, or a copy differs.
    """
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        if how == "copy":
            _copy(source, new, copied)
        elif how == "link":
            os.link(source.resolve(), new)
        else:
            with source.open("rb") as one, new.open("wb") as other:
                fcntl.ioctl(other, _FICLONE, one.fileno())
    except OSError as error:
        raise CheckpointError(
            f"{source} cannot be put into the new folder by {how}: {error}",
            why="not every file system links or shares blocks, and none does to another",
            do="Use --unchanged copy",
        ) from error


def _copy(source: Path, new: Path, copied: Copied) -> None:
    with source.open("rb") as one, new.open("w+b") as other:
        out = Output(other, copied)
        out.copy(pieces(Span(one, 0, one.seek(0, os.SEEK_END))))
        out.read_back()
        os.fsync(other.fileno())
    shutil.copystat(source, new)
