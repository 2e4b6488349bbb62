"""Render ``report.md``: what a report holds, without the evidence.

Nothing is listed cell by cell: equal tables are written once, and cells with one cause stand
together as ranges of releases, so that a file on ten times the cells can still be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from matrix.catalogue import ranges
from matrix.report import causes, overview, rendering, ways_page
from matrix.report.document import Report


def text(report: Report, order: Sequence[str]) -> str:
    """Return the report as Markdown.

    :param order: the names of all known releases, oldest first.
    """
    return rendering.render(
        "report.md.j2",
        report=report,
        order=order,
        ranges=ranges.text,
        overview=overview.of(report),
        tables=overview.tables(report),
        deviations=causes.by_cause(cell for cell in report.cells if cell.verdict.deviating),
        failing_controls=causes.failing_controls(report.controls),
        absent=causes.by_cause(cell for cell in report.cells if not cell.present),
        level="###",
        **ways_page.values(report.ways),
    )
