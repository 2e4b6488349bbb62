"""The page of findings names every entry of the ledger, and no other; its commands select cells."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from helpers.builders import TODAY
from matrix.catalogue import scenarios
from matrix.catalogue.selection import EVERYTHING, Selection
from matrix.catalogue.words import Verdict
from matrix.judge import ledger
from matrix.workflow.selecting import Request, select

PAGE = Path(__file__).parents[2] / "docs" / "findings.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text().splitlines()
    if "`--scenario" in line
]


def test_each_entry_of_the_ledger_has_a_row() -> None:
    named = [name for row in ROWS if len(row) == 4 for name in re.findall(r"`([^`]+)`", row[2])]
    assert sorted(named) == sorted(entry.id for entry in ledger.load())


def test_the_counts_are_those_of_the_recorded_evidence() -> None:
    variants = Selection(variant="plain,remapped,trusted")
    judgement = select(Request(variants), defaults=EVERYTHING).judge(TODAY)
    totals, page = judgement.totals, PAGE.read_text()
    assert f"{sum(totals.values()):,} cells" in page
    for verdict in (Verdict.CONFORMS, Verdict.KNOWN_DEVIATION, Verdict.UNDOCUMENTED):
        name = verdict.value.replace("-", " ")
        assert re.search(rf"^\| {name}[^|]*\| {totals[verdict]:,} \|$", page, re.MULTILINE)

    wrong = sum(control.verdict == Verdict.KNOWN_DEVIATION for control in judgement.controls)
    assert f"{wrong} controls came out wrong" in page


def test_the_packaged_scenarios_are_counted() -> None:
    others = sum(not each.scenario.faq for each in scenarios.load().values())
    assert f"and {others} of other modules" in (PAGE.parent / "using.md").read_text()


def test_each_entry_of_the_ledger_is_of_packaged_scenarios() -> None:
    named = {name for entry in ledger.load() for name in entry.scenarios}
    assert named <= scenarios.load().keys()


@pytest.mark.parametrize("row", ROWS, ids=[row[-1].strip("`") for row in ROWS])
def test_a_row_repeats_cells_of_its_entries(row: list[str]) -> None:
    words = shlex.split(row[-1].strip("`"))
    names = [word.strip("-").replace("-", "_") for word in words[::2]]
    options = dict(zip(names, words[1::2], strict=True))
    plan = select(Request(Selection(**options))).plan
    assert plan.cells
    if len(row) == 3:
        return
    ids = re.findall(r"`([^`]+)`", row[2])
    entries = [entry for entry in ledger.load() if entry.id in ids]
    assert any(
        cell.scenario in entry.scenarios
        and entry.saves(plan.releases[cell.saved_by])
        and entry.loads(plan.releases[cell.loaded_by])
        for entry in entries
        for cell in plan.cells
    )
