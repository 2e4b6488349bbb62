"""The page of ways across says what the recorded evidence shows, and nothing else."""

from __future__ import annotations

import datetime
from pathlib import Path

from matrix import report
from matrix.catalogue.selection import EVERYTHING, Selection
from matrix.report import ways, ways_page
from matrix.workflow.selecting import Request, select

FAQ = ("autocast", "attention-only", "fp8-weights")
PAGE = Path(__file__).parents[2] / "docs" / "ways.md"


def test_the_page_is_what_the_evidence_shows() -> None:
    selected = select(Request(Selection()), None, defaults=EVERYTHING)
    made = report.build(selected.judge(datetime.date.min), selected.documentation)
    assert PAGE.read_text(encoding="utf-8") == ways_page.page(made.ways), (
        "write it anew: te-matrix export --ways docs/ways.md"
    )
    lines = {line.scenario: line for line in ways.lines(made.ways)}
    for scenario in FAQ:
        assert (lines[scenario].across, lines[scenario].pairs) == (1681, 1681), scenario
