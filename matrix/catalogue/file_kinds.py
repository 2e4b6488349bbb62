"""Kinds of files that are taken for checkpoints and are none."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from pydantic import field_validator

from matrix.catalogue import tables

HEAD = 512
"""Number of bytes from the start of a file by which most kinds are told."""


class FileKind(tables.Row):
    """A kind of file that is no checkpoint; ``file_kinds.toml`` explains the fields."""

    name: str
    starts: str = ""
    entry: str = ""
    unless: str = ""
    do: str

    @field_validator("starts", "entry")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        re.compile(pattern)
        return pattern


class _Kinds(tables.Row):
    kind: tuple[FileKind, ...]


@functools.cache
def load() -> tuple[FileKind, ...]:
    """Read the table of kinds."""
    return tables.load(tables.packaged("file_kinds.toml"), _Kinds).kind


def by_start(head: bytes, suffix: str = "") -> FileKind | None:
    """Return the kind of a file, or None if it is not known.

    :param head: its first :data:`HEAD` bytes.
    :param suffix: the ending of its name.
    """
    text = head.decode("latin-1")
    return next(
        (
            kind
            for kind in load()
            if kind.starts
            and re.match(kind.starts, text, re.S)
            and not (suffix and kind.unless == suffix)
        ),
        None,
    )


def by_entries(names: Iterable[str]) -> FileKind | None:
    """Return the kind of a zip archive by the names of its entries, or None if it has none."""
    names = list(names)
    return next(
        (k for k in load() if k.entry and any(re.search(k.entry, name) for name in names)), None
    )
