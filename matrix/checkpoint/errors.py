"""Why a checkpoint is refused: the error that users see, and the one that parsers raise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from matrix.errors import ExitCode, MatrixError


class CheckpointError(MatrixError):
    """A file or folder that is no checkpoint, is not whole, or is built to do harm."""

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(*(printable(part) for part in (what, why, do)))


class Malformed(ValueError):
    """Bytes that are not in the format expected; the message says what, the caller where."""


def printable(text: str) -> str:
    """Return text from a file with its terminal control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def incomplete(path: Path, what: str) -> CheckpointError:
    """Return the error for a checkpoint that lacks a file, or a part of one."""
    return CheckpointError(
        f"{path} is not whole: {what}",
        why="a shard was lost, or is still being written",
        do="Copy the missing file there",
    )


@contextlib.contextmanager
def refusing_malformed(what: str, why: str, do: str) -> Iterator[None]:
    """Turn :class:`Malformed` into a :class:`CheckpointError` that begins with ``what``."""
    try:
        yield
    except Malformed as error:
        raise CheckpointError(f"{what}: {error}", why=why, do=do) from error


@contextlib.contextmanager
def refusing_unwritable(path: Path, do: str = "") -> Iterator[None]:
    """Turn an :class:`OSError` into a :class:`CheckpointError`: ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}", do=do) from error


@contextlib.contextmanager
def refusing_unreadable(path: Path) -> Iterator[None]:
    """Turn an :class:`OSError` into a :class:`CheckpointError` about ``path``."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}", do="See to its rights") from error
