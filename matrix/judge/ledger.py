"""The ledger: reviewed list of known deviations from the FAQ, with cause and expiry date."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import model_validator

from matrix.catalogue import tables
from matrix.catalogue.ranges import common, covers
from matrix.catalogue.releases import Release
from matrix.catalogue.words import ControlName, Deviation, Stage, Verdict
from matrix.errors import TableError
from matrix.store.records import Failure


class LedgerEntry(tables.Row):
    """One known deviation, and the cells or the controls in which it occurs."""

    id: str
    """Name of the entry in reports."""
    control: ControlName | None = None
    """The control that deviates; None for an entry on cells."""
    saved_by: str | None = None
    """Closed ranges of saving releases; None for a control, whose saver is its loader."""
    loaded_by: str
    """Closed ranges of loading releases."""
    scenarios: tuple[str, ...]
    """Names of the scenarios."""
    variants: tuple[str, ...] = ()
    """Names of the variants; none for a control."""
    observed: Deviation
    """What was observed."""
    stage: Stage | None = None
    """Stage of an error."""
    error: str | None = None
    """Name of the exception's class, of an error."""
    fragment: str | None = None
    """A part of the exception's message, of an error."""
    cause: str
    """What causes the deviation: file and symbol in Transformer Engine's code."""
    reference: str
    """Issue or pull request of the project."""
    advice: str
    """What somebody with such a checkpoint can do."""
    accepted_by: str
    """Who reviewed and accepted the deviation."""
    expires: datetime.date
    """The date from which the entry makes the gate fail, until it is reviewed again."""

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        if self.observed == Deviation.PARTIAL:
            raise ValueError("observed cannot be 'partial': what is left of it has no name")
        if {bool(self.saved_by), bool(self.variants)} != {self.control is None}:
            raise ValueError("an entry on cells, and no other, has saved_by and variants")
        if (self.observed == Deviation.ERROR) != bool(self.stage and self.error and self.fragment):
            raise ValueError("an error, and only an error, has stage, error and fragment")
        for ranges in filter(None, (self.saved_by, self.loaded_by)):
            covers(ranges)
        return self

    def saves(self, release: Release) -> bool:
        """Return whether a release is one of the entry's savers. A candidate never is."""
        ranges = self.saved_by or self.loaded_by
        return not release.candidate and covers(ranges)(release.version)

    def loads(self, release: Release) -> bool:
        """Return whether a release is one of the entry's loaders. A candidate never is."""
        return not release.candidate and covers(self.loaded_by)(release.version)

    def explains(self, deviation: Deviation, stage: Stage, error: Failure | None) -> bool:
        """Return whether a deviation is the one that the entry describes.

        :param deviation: what was observed.
        :param stage: stage of the load, or ``save``.
        :param error: the exception that the load raised; None where it raised none.
        """
        if deviation != self.observed:
            return False
        if deviation != Deviation.ERROR or error is None:
            return deviation != Deviation.ERROR
        same = (stage, error.type) == (self.stage, self.error)
        return same and str(self.fragment) in error.message

    def same_deviation(self, other: LedgerEntry) -> bool:
        """Return whether two entries can explain the same deviation of a cell."""
        mine, theirs = self.fragment or "", other.fragment or ""
        same = (self.control, self.observed, self.stage, self.error)
        return same == (other.control, other.observed, other.stage, other.error) and (
            mine in theirs or theirs in mine
        )

    @property
    def _variants(self) -> tuple[str, ...]:
        return self.variants or (str(self.control),)

    def shared(self, other: LedgerEntry) -> str:
        """Return the id of a cell that matches both entries; empty where there can be none."""
        parts = [
            next((name for name in self.scenarios if name in other.scenarios), ""),
            next((name for name in self._variants if name in other._variants), ""),
            common(self.saved_by or self.loaded_by, other.saved_by or other.loaded_by),
            common(self.loaded_by, other.loaded_by),
        ]
        return "{}/{}/{}->{}".format(*parts) if all(parts) else ""


class Ledger(tables.Row):
    """Contents of ``ledger.toml``."""

    entry: tuple[LedgerEntry, ...] = ()
    """The entries."""


def load(path: Path | None = None, extra: Path | None = None) -> tuple[LedgerEntry, ...]:
    """Read the ledger, and return its entries.

    :param path: the file to read; by default the packaged one.
    :param extra: a further file of the same form.
    :raises TableError: a file is malformed, or two entries have the same id or describe the
        same deviation of a cell.
    """
    found: list[LedgerEntry] = []
    for file in filter(None, (path or tables.packaged("ledger.toml"), extra)):
        for entry in tables.load(file, Ledger).entry:
            check_apart(file, found, entry)
            found.append(entry)
    return tuple(found)


def check_apart(file: Path, known: Iterable[LedgerEntry], entry: LedgerEntry) -> None:
    """Check that an entry does not repeat others.

    :param file: the file that contains the entry, for the error message.
    :param known: the other entries.
    :raises TableError: another entry has its id, or describes the same deviation of a cell.
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


def excused(
    deviations: Sequence[Deviation],
    entries: Sequence[LedgerEntry],
    stage: Stage,
    error: Failure | None,
) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict on deviations, and the ids of the entries that explain them.

    ``known-deviation`` only if the entries explain all of them; ``conforms`` if there are none.
    """
    used: list[str] = []
    for deviation in deviations:
        explaining = [entry.id for entry in entries if entry.explains(deviation, stage, error)]
        if not explaining:
            return Verdict.DEVIATES, ()
        used += sorted(explaining)
    return (Verdict.KNOWN_DEVIATION, tuple(used)) if deviations else (Verdict.CONFORMS, ())
