"""A report in short: a line for every scenario, and equal tables of bands together."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from matrix.catalogue.words import AfterLoad, Outcome, Undocumented
from matrix.report import traits
from matrix.report.cells import ReportCell
from matrix.report.document import Bands, Report
from matrix.report.places import together
from matrix.report.traits import Traits

FROZEN = "frozen"
"""Stands for the outcome of cells whose metadata is loaded, and never updated again."""
ABSENT = "no outcome"
"""Stands for the outcome of cells that have none."""
WORDS = ("loaded", FROZEN, "defaults", "none", "error", "partial", ABSENT)
"""What cells are counted by, in the order of the columns."""

_PLAIN = "plain"


@dataclasses.dataclass(frozen=True)
class Line:
    """One scenario in the overview."""

    traits: Traits
    """What tells it from the others."""
    counts: Mapping[str, int]
    """Number of cells by a word of :data:`WORDS`."""
    deviating: int
    """Number of cells that deviate from the FAQ, with or without a ledger entry."""


@dataclasses.dataclass(frozen=True)
class Overview:
    """All scenarios of a report, in one variant."""

    variant: str
    """Name of the variant."""
    words: tuple[str, ...]
    """The words of :data:`WORDS` that occur."""
    lines: tuple[Line, ...]
    """The scenarios that have cells in the variant."""


def of(report: Report) -> Overview:
    """Return the overview of a report in the variant ``plain``, or else in its first one."""
    names = [row.name for row in report.variants]
    variant = _PLAIN if _PLAIN in names else next(iter(names), "")
    cells: dict[str, list[ReportCell]] = {}
    for cell in report.cells:
        if cell.variant == variant:
            cells.setdefault(cell.scenario, []).append(cell)
    lines = tuple(
        _line(traits.of(row), cells[row.name]) for row in report.scenarios if row.name in cells
    )
    words = tuple(word for word in WORDS if any(line.counts.get(word) for line in lines))
    return Overview(variant, words, lines)


def tables(report: Report) -> list[tuple[Bands, str]]:
    """Return the distinct tables of bands, each with the other places that it is equal in.

    Tables that the FAQ says something about come first, then those of most scenarios.
    """
    found: dict[str, list[Bands]] = {}
    for table in report.bands:
        found.setdefault(repr(table.rows), []).append(table)
    groups = sorted(found.values(), key=lambda group: (not _documented(group[0]), -len(group)))
    return [
        (first, together([(one.scenario, one.variant) for one in same])) for first, *same in groups
    ]


def _documented(table: Bands) -> bool:
    return any(row.documented not in ("", Undocumented.UNDOCUMENTED.value) for row in table.rows)


def _line(told: Traits, cells: list[ReportCell]) -> Line:
    return Line(told, Counter(map(word_of, cells)), sum(cell.verdict.deviating for cell in cells))


def word_of(cell: ReportCell) -> str:
    """Return the word of :data:`WORDS` that a cell is counted by."""
    if not isinstance(cell.outcome, Outcome):
        return ABSENT
    frozen = cell.outcome == Outcome.LOADED and cell.after_load == AfterLoad.FROZEN
    return FROZEN if frozen else cell.outcome.value
