"""The ledger: known deviations from the FAQ, each with its cause and an expiry date."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import model_validator

from matrix.catalogue import tables
from matrix.catalogue.ranges import common, covers
from matrix.catalogue.releases import Release
from matrix.catalogue.words import AfterLoad, Outcome, Stage
from matrix.errors import TableError
from matrix.store.records import Failure

_NO_DEVIATION = (Outcome.PARTIAL, AfterLoad.UPDATES, AfterLoad.UNTESTED)


class LedgerEntry(tables.Row):
    """One known deviation; ``ledger.toml`` explains the fields."""

    id: str
    saved_by: str
    loaded_by: str
    scenarios: tuple[str, ...]
    variants: tuple[str, ...]
    observed: Outcome | AfterLoad
    stage: Stage | None = None
    error: str | None = None
    fragment: str | None = None
    cause: str
    reference: str
    advice: str
    accepted_by: str
    expires: datetime.date

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        if self.observed in _NO_DEVIATION:
            raise ValueError(f"observed cannot be {self.observed.value!r}")
        if (self.observed == Outcome.ERROR) != bool(self.stage and self.error and self.fragment):
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

    def explains(self, deviation: Outcome | AfterLoad, stage: Stage, error: Failure | None) -> bool:
        """Tell whether a deviation is the one that the entry knows.

        :param error: the exception that the load raised, if it raised one.
        """
        if deviation != self.observed:
            return False
        if deviation != Outcome.ERROR or error is None:
            return deviation != Outcome.ERROR
        same = (stage, error.type) == (self.stage, self.error)
        return same and str(self.fragment) in error.message

    def same_deviation(self, other: LedgerEntry) -> bool:
        """Tell whether all that one of the two explains the other would explain as well."""
        mine, theirs = self.fragment or "", other.fragment or ""
        return (self.observed, self.stage, self.error) == (
            other.observed,
            other.stage,
            other.error,
        ) and (mine in theirs or theirs in mine)

    def shared(self, other: LedgerEntry) -> str:
        """Return a cell that falls under both entries, in words; empty where none can."""
        parts = [
            next((name for name in self.scenarios if name in other.scenarios), ""),
            next((name for name in self.variants if name in other.variants), ""),
            common(self.saved_by, other.saved_by),
            common(self.loaded_by, other.loaded_by),
        ]
        return "{}/{}/{}->{}".format(*parts) if all(parts) else ""


class Ledger(tables.Row):
    """The whole of ``ledger.toml``."""

    entry: tuple[LedgerEntry, ...] = ()


def load(path: Path | None = None, extra: Path | None = None) -> tuple[LedgerEntry, ...]:
    """Read the ledger.

    :param path: the ledger to read; by default the packaged one.
    :param extra: a further file of the same form.
    :raises TableError: a file is malformed, or two entries have one id or know one
        deviation of the same cells.
    """
    found: list[LedgerEntry] = []
    for file in filter(None, (path or tables.packaged("ledger.toml"), extra)):
        for entry in tables.load(file, Ledger).entry:
            check_apart(file, found, entry)
            found.append(entry)
    return tuple(found)


def check_apart(file: Path, known: Iterable[LedgerEntry], entry: LedgerEntry) -> None:
    """See that an entry can stand beside others.

    :param file: where it stands or is to stand, for the error.
    :raises TableError: one of them has its id, or knows one deviation of a cell with it.
    """
    for other in known:
        _check_pair(file, other, entry)


def _check_pair(file: Path, one: LedgerEntry, other: LedgerEntry) -> None:
    if one.id == other.id:
        raise TableError(f"{file}: more than one entry is called {one.id}", do="Give it another id")
    if one.same_deviation(other) and (shared := one.shared(other)):
        raise TableError(
            f"{file}: entries {one.id} and {other.id} know the same deviation of {shared}",
            why="their ranges overlap",
            do="Leave each cell's deviation to one of them",
        )
