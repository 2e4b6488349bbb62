"""Cells with one cause, together: what thousands of cells come down to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from matrix.catalogue.words import Verdict
from matrix.report.document import ReportCell
from matrix.report.places import places

_MESSAGE = 200


@dataclasses.dataclass(frozen=True)
class Cause:
    """What several cells have in common: verdict, outcome, reason and ledger entries.

    ``reason`` is one line, see :attr:`ReportCell.reason`, cut to 200 characters.
    """

    verdict: Verdict
    seen: str
    reason: str
    entries: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class CauseGroup:
    """A cause and its cells, never none."""

    cause: Cause
    cells: tuple[ReportCell, ...]

    def where(self, order: Sequence[str]) -> list[str]:
        """Return a line for each scenario and variant: which savers, which loaders.

        :param order: every release there is, oldest first.
        """
        return places(self.cells, order)


def cause(cell: ReportCell) -> Cause:
    """Return what a cell is grouped by."""
    return Cause(cell.verdict, cell.seen, cell.reason[:_MESSAGE], cell.ledger)


def by_cause(cells: Iterable[ReportCell]) -> list[CauseGroup]:
    """Group cells by cause: what the ledger does not know first, then the most frequent."""
    found: dict[Cause, list[ReportCell]] = {}
    for cell in cells:
        found.setdefault(cause(cell), []).append(cell)
    groups = [CauseGroup(key, tuple(members)) for key, members in found.items()]
    return sorted(groups, key=lambda group: (bool(group.cause.entries), -len(group.cells)))
