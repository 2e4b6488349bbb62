"""Group cells that have the same verdict, outcome, reason and ledger entries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from matrix.catalogue.words import Verdict
from matrix.report.cells import ReportCell
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
