"""The table of ways across as a page of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from matrix.catalogue import ways as catalogued
from matrix.report import rendering, ways
from matrix.report.ways import Line, WayRow


def page(rows: Sequence[WayRow]) -> str:
    """Return the page.

    :param rows: the table on all releases, scenarios and variants.
    """
    found = values(rows)
    counts = sum((Counter(line.counts) for line in found["lines"]), Counter[str]())
    return rendering.render(
        "ways_page.md.j2",
        catalogued=(*catalogued.load(), catalogued.own_recipe()),
        total=Line("", counts, ()),
        level="##",
        **found,
    )


def values(rows: Sequence[WayRow]) -> dict[str, Any]:
    """Return what the templates of the table need."""
    lines = ways.lines(rows)
    return {"lines": lines, "names": ways.named(lines), "groups": list(ways.alike(lines))}
