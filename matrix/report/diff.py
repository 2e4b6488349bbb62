"""Compare two reports: which cells changed, in what, and whether for the worse."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

from matrix.catalogue.words import Absence, AfterLoad, Outcome, Verdict, Word
from matrix.errors import ExitCode, UsageError, nearest, worst
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.report.places import places
from matrix.report.rendering import markdown_cell
from matrix.system.counting import counted


class Direction(Word):
    """How a cell changed, the most serious first."""

    REGRESSION = "regression"
    """Its verdict is worse; or as good, and less of the metadata survives the load."""
    LOST = "lost"
    """It had an outcome, and has none now."""
    CHANGED = "changed"
    """It is neither better nor worse, and its reason or verdict differs."""
    FOUND = "found"
    """It had no outcome, and has one now."""
    IMPROVEMENT = "improvement"
    """Its verdict is better; or as good, and more of the metadata survives the load."""


_VERDICTS = {
    Verdict.CONFORMS: 0,
    Verdict.UNDOCUMENTED: 0,
    Verdict.KNOWN_DEVIATION: 1,
    Verdict.DEVIATES: 2,
}
_OUTCOMES: dict[Outcome | Absence, int] = {
    Outcome.LOADED: 0,
    Outcome.NONE: 1,
    Outcome.DEFAULTS: 1,
    Outcome.PARTIAL: 2,
    Outcome.ERROR: 3,
}
_REASON = 160


@dataclasses.dataclass(frozen=True)
class CellChange:
    """One cell in both reports."""

    before: ReportCell
    """The cell in the first report."""
    after: ReportCell
    """The cell in the second report."""

    @property
    def what(self) -> tuple[str, ...]:
        """What differs: any of ``outcome``, ``reason`` and ``verdict``; empty for nothing."""
        before, after = self.before, self.after
        differs = {
            "outcome": _state(before) != _state(after),
            "reason": _reason(before) != _reason(after),
            "verdict": before.verdict != after.verdict,
        }
        return tuple(name for name, different in differs.items() if different)

    @property
    def direction(self) -> Direction:
        """How the cell changed."""
        if not self.after.present:
            return Direction.LOST if self.before.present else Direction.CHANGED
        if not self.before.present:
            return Direction.FOUND
        before, after = _rank(self.before), _rank(self.after)
        if before == after:
            return Direction.CHANGED
        return Direction.REGRESSION if after > before else Direction.IMPROVEMENT


def _rank(cell: ReportCell) -> tuple[int, int, bool]:
    return _VERDICTS[cell.verdict], _OUTCOMES[cell.outcome], cell.after_load == AfterLoad.FROZEN


def _state(cell: ReportCell) -> str:
    untested = cell.outcome == Outcome.LOADED and cell.after_load == AfterLoad.UNTESTED
    return cell.seen + (" (untested)" if untested else "")


def _reason(cell: ReportCell) -> tuple[object, ...]:
    return cell.reason, cell.missing_keys, cell.unexpected_keys


@dataclasses.dataclass(frozen=True)
class ChangeGroup:
    """Changes with the same outcome, verdict and reason before, and the same after."""

    direction: Direction
    """How the cells changed."""
    before: str
    """The cells in the first report, see :func:`describe`."""
    after: str
    """The cells in the second report, see :func:`describe`."""
    changes: tuple[CellChange, ...]
    """The changes, at least one."""

    @property
    def what(self) -> tuple[str, ...]:
        """What differs in at least one of the cells; see :attr:`CellChange.what`."""
        found = {name for change in self.changes for name in change.what}
        return tuple(name for name in ("outcome", "reason", "verdict") if name in found)

    def where(self, order: Sequence[str]) -> list[str]:
        """Return the cells as lines of text, see :func:`places`."""
        return places([change.after for change in self.changes], order)


@dataclasses.dataclass(frozen=True)
class Diff:
    """Result of the comparison of two reports."""

    compared: int
    """Number of cells that both reports have."""
    groups: tuple[ChangeGroup, ...]
    """The changes, the most serious first, then by number of cells."""
    added: tuple[ReportCell, ...]
    """Cells of the second report only."""
    removed: tuple[ReportCell, ...]
    """Cells of the first report only."""

    def count(self, direction: Direction) -> int:
        """Return the number of cells that changed in one way."""
        return sum(len(group.changes) for group in self.groups if group.direction == direction)

    @property
    def exit_code(self) -> ExitCode:
        """1 with a regression; else 4 or 3 where an outcome was lost or nothing was compared."""
        codes = [ExitCode.DEVIATES] if self.count(Direction.REGRESSION) else []
        for group in self.groups:
            if group.direction == Direction.LOST:
                codes += [change.after.verdict.exit_code for change in group.changes]
        return worst(codes if self.compared else [*codes, ExitCode.INCOMPLETE])


def compare(
    before: Report,
    after: Report,
    order: Sequence[str],
    release: str | None = None,
    against: str | None = None,
) -> Diff:
    """Compare two reports.

    :param order: the names of all known releases, oldest first.
    :param release: compare only the cells of this release in ``after``.
    :param against: the release of ``before`` to compare ``release`` with; by default the
        same release, or where ``before`` lacks it the newest one there that is older.
    :raises UsageError: a release is not in its report.
    """
    if release is None:
        if against is not None:
            raise UsageError("--against needs --release", do="Name the release under test")
        return _compared(before.cells, after.cells, {})
    _known(release, after, "B")
    stand_in = against or _stand_in(release, before, order)
    _known(stand_in, before, "A")
    cells = [cell for cell in after.cells if release in (cell.saved_by, cell.loaded_by)]
    known = [cell for cell in before.cells if stand_in in (cell.saved_by, cell.loaded_by)]
    return _compared(known, cells, {release: stand_in})


def _known(release: str, report: Report, side: str) -> None:
    names = [row.name for row in report.releases]
    if release not in names:
        raise UsageError(f"{side} has no release {release}", do=nearest(release, names))


def _stand_in(release: str, report: Report, order: Sequence[str]) -> str:
    names = {row.name for row in report.releases}
    older = newest_until(release, names, order)
    if older is None:
        raise UsageError(f"A has no release up to {release}", do="Name one with --against")
    return release if release in names else older


def newest_until(release: str, names: Collection[str], order: Sequence[str]) -> str | None:
    """Return the newest of the named releases that is not newer than a release, or None.

    :param order: the names of all known releases, oldest first.
    """
    older = [name for name in order[: order.index(release) + 1] if name in names]
    return older[-1] if older else None


def stand_ins(before: Report, after: Report, order: Sequence[str]) -> dict[str, str]:
    """Return the release of ``before`` to compare each new release of ``after`` with.

    New are candidates, and releases newer than all releases of ``before``. Each is compared
    with the newest release of ``before`` that is not newer than itself.

    :param order: the names of all known releases, oldest first.
    """
    names = [name for name in order if name in {row.name for row in before.releases}]
    place = {name: number for number, name in enumerate(order)}
    found = {}
    for row in after.releases:
        older = [name for name in names if place[name] <= place[row.name]]
        new = row.candidate or len(older) == len(names)
        if row.name not in names and new and older:
            found[row.name] = older[-1]
    return found


def counterparts(
    before: Sequence[ReportCell], after: Sequence[ReportCell], instead: Mapping[str, str]
) -> Iterator[tuple[ReportCell | None, ReportCell]]:
    """Yield each cell of ``after`` with the cell of ``before`` to compare it with, or None.

    :param instead: releases of ``before`` to compare other releases of ``after`` with.
    """
    known = {(c.scenario, c.variant, c.saved_by, c.loaded_by): c for c in before}
    for cell in after:
        saver = instead.get(cell.saved_by, cell.saved_by)
        loader = instead.get(cell.loaded_by, cell.loaded_by)
        yield known.get((cell.scenario, cell.variant, saver, loader)), cell


def _compared(
    before: Sequence[ReportCell], after: Sequence[ReportCell], instead: Mapping[str, str]
) -> Diff:
    pairs = list(counterparts(before, after, instead))
    met = {old.id for old, _new in pairs if old is not None}
    changes = [CellChange(old, new) for old, new in pairs if old is not None]
    return Diff(
        compared=len(changes),
        groups=tuple(_grouped([change for change in changes if change.what])),
        added=tuple(new for old, new in pairs if old is None),
        removed=tuple(cell for cell in before if cell.id not in met),
    )


def _grouped(changes: Sequence[CellChange]) -> list[ChangeGroup]:
    found: dict[tuple[Direction, str, str], list[CellChange]] = {}
    for change in changes:
        key = change.direction, describe(change.before), describe(change.after)
        found.setdefault(key, []).append(change)
    groups = [ChangeGroup(*key, tuple(members)) for key, members in found.items()]
    return sorted(groups, key=lambda g: (list(Direction).index(g.direction), -len(g.changes)))


def describe(cell: ReportCell) -> str:
    """Return outcome, verdict, ledger entries and reason of a cell as one line."""
    entries = f", {', '.join(cell.ledger)}" if cell.ledger else ""
    keys = [
        f"{name} {', '.join(found)}"
        for name, found in (("missing", cell.missing_keys), ("unexpected", cell.unexpected_keys))
        if found
    ]
    reason = "; ".join(filter(None, [cell.reason[:_REASON], *keys]))
    return f"{_state(cell)} [{cell.verdict.value}{entries}]" + (f" {reason}" if reason else "")


def totals(diff: Diff) -> str:
    """Return the counts of a comparison as one line."""
    counts = [f"{diff.count(one)} {one.value}" for one in Direction if diff.count(one)]
    cells = counted(diff.compared, "cell")
    only = f"{len(diff.added)} only in B, {len(diff.removed)} only in A"
    return f"{cells} compared: {', '.join(counts) or 'nothing changed'}; {only}"


def lines(diff: Diff, order: Sequence[str]) -> Iterator[str]:
    """Yield a comparison as lines of text."""
    yield totals(diff)
    for group in diff.groups:
        cells = counted(len(group.changes), "cell")
        yield f"{group.direction.value}, {cells} ({', '.join(group.what)}):"
        yield f"  before: {group.before}"
        yield f"  after:  {group.after}"
        yield from (f"    {line}" for line in group.where(order))


def markdown(diff: Diff, order: Sequence[str]) -> Iterator[str]:
    """Yield a comparison as lines of Markdown."""
    yield totals(diff)
    if diff.groups:
        yield ""
        yield "| | cells | what | before | after | where |"
        yield "|---|---|---|---|---|---|"
    for group in diff.groups:
        texts = [", ".join(group.what), group.before, group.after, " ; ".join(group.where(order))]
        row = " | ".join(markdown_cell(text) for text in texts)
        yield f"| {group.direction.value} | {len(group.changes)} | {row} |"


def plain(diff: Diff) -> dict[str, object]:
    """Return a comparison as plain data for JSON."""
    return {
        "exit_code": int(diff.exit_code),
        "compared": diff.compared,
        "counts": {one.value: diff.count(one) for one in Direction},
        "groups": [
            {
                "direction": group.direction.value,
                "what": group.what,
                "before": group.before,
                "after": group.after,
                "cells": [
                    {"before": change.before.id, "after": change.after.id}
                    for change in group.changes
                ],
            }
            for group in diff.groups
        ],
        "added": [cell.id for cell in diff.added],
        "removed": [cell.id for cell in diff.removed],
    }
