"""Group cells and controls that have the same verdict, outcome, reason and ledger entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from matrix.catalogue.words import Verdict
from matrix.report.cells import ReportCell, one_line
from matrix.report.document import ControlRow
from matrix.report.places import places

_MESSAGE = 200


@dataclasses.dataclass(frozen=True)
class Cause:
    """What the cells of a group have in common."""

    verdict: Verdict
    """The verdict."""
    seen: str
    """The outcome as it is shown, see :attr:`ReportCell.seen`."""
    reason: str
    """The reason in one line, see :attr:`ReportCell.reason`, cut to 200 characters."""
    entries: tuple[str, ...]
    """Ids of the ledger entries."""


@dataclasses.dataclass(frozen=True)
class CauseGroup:
    """The cells with one cause."""

    cause: Cause
    """The cause."""
    cells: tuple[ReportCell, ...]
    """The cells, at least one."""

    def where(self, order: Sequence[str]) -> list[str]:
        """Return the cells as lines of text, see :func:`places`."""
        return places(self.cells, order)


def cause(cell: ReportCell) -> Cause:
    """Return the cause of a cell."""
    return Cause(cell.verdict, cell.seen, cell.reason[:_MESSAGE], cell.ledger)


def by_cause(cells: Iterable[ReportCell]) -> list[CauseGroup]:
    """Group cells by cause: first those without ledger entry, then by number of cells."""
    found: dict[Cause, list[ReportCell]] = {}
    for cell in cells:
        found.setdefault(cause(cell), []).append(cell)
    groups = [CauseGroup(key, tuple(members)) for key, members in found.items()]
    return sorted(groups, key=lambda group: (bool(group.cause.entries), -len(group.cells)))


@dataclasses.dataclass(frozen=True)
class ControlGroup:
    """Controls that came out wrong alike: of several releases, or all that one could not run."""

    releases: tuple[str, ...]
    """Names of the releases."""
    scenarios: tuple[str, ...]
    """Names of the scenarios."""
    controls: tuple[str, ...]
    """Names of the controls."""
    required: tuple[str, ...]
    """The outcomes that they must have."""
    observed: str
    """The outcome that they had, or why there is none."""
    note: str
    """The error, what is not as required, or why there is no outcome; empty where a release is
    lacking."""


def failing_controls(rows: Iterable[ControlRow]) -> list[ControlGroup]:
    """Return the controls that came out wrong, those of a cause once.

    All of a release that could not run, for lack of a source for instance, are one group.
    """
    found: dict[tuple[str, ...], list[ControlRow]] = {}
    for row in rows:
        if not row.good:
            of = row.release if row.lacking else row.required.value
            found.setdefault((of, row.observed.value, one_line(row.note)), []).append(row)
    return [
        ControlGroup(
            releases=tuple(dict.fromkeys(row.release for row in members)),
            scenarios=tuple(dict.fromkeys(row.scenario for row in members)),
            controls=tuple(dict.fromkeys(row.control.value for row in members)),
            required=tuple(dict.fromkeys(row.required.value for row in members)),
            observed=members[0].observed.value,
            # Why a release could not run is said with its cells.
            note="" if members[0].lacking else one_line(members[0].note),
        )
        for members in found.values()
    ]
