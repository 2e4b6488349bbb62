"""Exceptions that refuse a checkpoint: the one that users see, and the one that parsers raise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from matrix.errors import ExitCode, MatrixError


class CheckpointError(MatrixError):
    """A file or folder is no checkpoint, is incomplete or malicious, or cannot be written."""

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(*(printable(part) for part in (what, why, do)))


class LossError(CheckpointError):
    """A release has no place for what a checkpoint holds: a rewrite would lose it."""

    exit_code = ExitCode.DEVIATES


class Malformed(ValueError):
    """Bytes are not in the expected format; whoever catches it adds the file's name."""

    cut_short = False
    """Whether the bytes end where others are missing, as after an interrupted copy."""


class Refused(Malformed):
    """Bytes that are not read, though another reader may read them, and run what they say.

    So a file that holds such bytes anywhere is refused as a whole, where one that only holds
    something unreadable is not.
    """


class OverBudget(Refused):
    """Reading the file would take more time or memory than is spent on any file."""

    def __init__(self) -> None:
        super().__init__("it would take more time or memory to read than any checkpoint does")


def cut_short(error: Malformed) -> Malformed:
    """Return an error that says that bytes are missing at the end."""
    error.cut_short = True
    return error


def printable(text: str) -> str:
    """Return text from a file with its terminal control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def incomplete(path: Path, what: str) -> CheckpointError:
    """Return the error for a checkpoint of which a file is missing or cut short."""
    return CheckpointError(
        f"{path} is not whole: {what}",
        why="a shard was lost, or is still being written",
        do="Copy the missing file there",
    )


@contextlib.contextmanager
def refusing_malformed(what: str, why: str, do: str) -> Iterator[None]:
    """Raise :class:`Malformed` on as a :class:`CheckpointError` that begins with ``what``."""
    try:
        yield
    except Malformed as error:
        raise CheckpointError(f"{what}: {error}", why=why, do=do) from error


@contextlib.contextmanager
def refusing_unwritable(path: Path, do: str = "") -> Iterator[None]:
    """Raise :class:`OSError` on as a :class:`CheckpointError`: ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}", do=do) from error


@contextlib.contextmanager
def refusing_unreadable(path: Path) -> Iterator[None]:
    """Raise :class:`OSError` on as a :class:`CheckpointError`: ``path`` cannot be read."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}", do="See to its rights") from error
