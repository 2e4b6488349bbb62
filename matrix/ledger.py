"""The ledger: known deviations from the FAQ, each with its cause and an expiry date."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Self

from pydantic import model_validator

from matrix import tables
from matrix.catalogue import Release
from matrix.errors import TableError
from matrix.selection import covers


class Entry(tables.Row):
    """One known deviation; ``ledger.toml`` explains the fields."""

    id: str
    saved_by: str
    loaded_by: str
    scenarios: tuple[str, ...]
    variants: tuple[str, ...]
    observed: str
    stage: str | None = None
    error: str | None = None
    fragment: str | None = None
    cause: str
    reference: str
    advice: str
    accepted_by: str
    expires: datetime.date

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        if self.observed not in ("loaded", "defaults", "none", "error", "frozen"):
            raise ValueError(f"observed cannot be {self.observed!r}")
        if (self.observed == "error") != bool(self.stage and self.error and self.fragment):
            raise ValueError("an error, and only an error, has stage, error and fragment")
        for ranges in (self.saved_by, self.loaded_by):
            covers(ranges)
        return self

    def saves(self, release: Release) -> bool:
        """Tell whether a release is one of the entry's savers. A candidate never is."""
        return not release.candidate and covers(self.saved_by)(release.version)

    def loads(self, release: Release) -> bool:
        """Tell whether a release is one of the entry's loaders. A candidate never is."""
        return not release.candidate and covers(self.loaded_by)(release.version)

    def explains(self, deviation: str, stage: str, error: str, message: str) -> bool:
        """Tell whether a deviation is the one that the entry knows."""
        if deviation != self.observed:
            return False
        if deviation != "error":
            return True
        return stage == self.stage and error == self.error and str(self.fragment) in message


class Ledger(tables.Row):
    """The whole of ``ledger.toml``."""

    entry: tuple[Entry, ...] = ()


def load(path: Path | None = None, extra: Path | None = None) -> tuple[Entry, ...]:
    """Read the ledger.

    :param path: the ledger to read; by default the packaged one.
    :param extra: a further file of the same form.
    :raises TableError: a file is malformed, or two entries have one id.
    """
    found: list[Entry] = []
    for file in filter(None, (path or tables.packaged("ledger.toml"), extra)):
        for entry in tables.load(file, Ledger).entry:
            if any(entry.id == other.id for other in found):
                raise TableError(f"{file}: more than one entry is called {entry.id}")
            found.append(entry)
    return tuple(found)
