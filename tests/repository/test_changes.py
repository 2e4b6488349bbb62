"""The page of changes is the table; the table has every change that the recorded evidence shows,
and what the ledger refers to."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix import report
from matrix.catalogue import changes, releases
from matrix.catalogue.changes import Change, Changes
from matrix.catalogue.selection import EVERYTHING, Selection
from matrix.judge import ledger
from matrix.judge.ledger import LedgerEntry
from matrix.report import changes_page
from matrix.workflow import attributing
from matrix.workflow.selecting import Request, select

PAGE = Path(__file__).parents[2] / "docs" / "changes.md"
TABLE = changes.load()
ENTRIES = ledger.load()


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == changes_page.page(TABLE), (
        "write it anew: python -c 'from matrix.catalogue import changes; "
        'from matrix.report import changes_page; print(changes_page.page(changes.load()), end="")\''
        " > docs/changes.md"
    )


def test_every_difference_of_the_evidence_is_in_the_table() -> None:
    """In the table, or the first or last step of it where it has several."""
    selected = select(Request(Selection()), None, defaults=EVERYTHING)
    made = report.build(selected.judge(datetime.date.min), selected.documentation)
    module_of = {row.name: row.module for row in made.scenarios}
    known = {
        (row.release, row.after, effect.role, effect.variant, module, end)
        for row in TABLE.change
        for effect in row.effect
        for module in effect.modules
        for end in (f"from {effect.before}", f"to {effect.now}")
    }
    missing = []
    for place, members in attributing.differences(made, releases.order(())).items():
        for one in members:
            ends = f"from {one.ends[0]}", f"to {one.ends[1]}"
            for module in {module_of[cell.scenario] for _before, cell in one.pairs}:
                keys = {(*place, one.role, one.variant, module, end) for end in ends}
                if not keys <= known:
                    missing.append(one.walked.cell(one.release).id)
    assert missing == [], "trace them: te-matrix bisect --all, and review the table"


def references(entry: LedgerEntry) -> Iterator[str]:
    """Yield the pull requests and commits that an entry refers to."""
    yield from re.findall(r"#\d+", entry.reference)
    yield from re.findall(r"commit ([0-9a-f]{7,40})", entry.reference)


def is_of(row: Change, reference: str) -> bool:
    if reference.startswith("#"):
        return int(reference[1:]) in row.pulls
    return any(commit.startswith(reference) for commit in (row.commit, row.main) if commit)


def concerns(row: Change, entry: LedgerEntry) -> bool:
    """Return whether a change is at a release that the entry has as saver or loader, or next to."""
    known = releases.load()
    both = [known[name] for name in (row.release, row.after)]
    return any(entry.saves(release) or entry.loads(release) for release in both)


def exempt(table: Changes, entry: LedgerEntry, reference: str) -> bool:
    return any(
        row.reference == reference and entry.id in row.entries and row.reason
        for row in table.exempt
    )


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.id for entry in ENTRIES])
def test_what_an_entry_of_the_ledger_refers_to_is_in_the_table(entry: LedgerEntry) -> None:
    for reference in references(entry):
        traced = any(is_of(row, reference) and concerns(row, entry) for row in TABLE.change)
        assert traced != exempt(TABLE, entry, reference), reference


def test_exemptions_are_of_entries_that_there_are() -> None:
    known = {(entry.id, name) for entry in ENTRIES for name in references(entry)}
    assert {(name, row.reference) for row in TABLE.exempt for name in row.entries} <= known
