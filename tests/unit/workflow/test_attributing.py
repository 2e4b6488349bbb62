"""Rule: every difference between neighbours is followed once, and none is said of the wrong commit.

The history and what measures its commits are fakes here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, cast

import pytest

from helpers.builders import a_cell, a_report
from matrix.catalogue import releases
from matrix.catalogue.changes import Change, Changes
from matrix.errors import UsageError
from matrix.report import changes_page
from matrix.report.cells import ReportCell
from matrix.workflow import attributing
from matrix.workflow.attributing import Attribution, Difference
from matrix.workflow.commit_cells import CommitJudge, Seen, Walked
from matrix.workflow.history import Commit, History

ORDER = releases.order([])
REFUSED = {"stage": "load_state_dict", "error_type": "KeyError", "error_message": "'recipe'"}


def refused(saver: str, loader: str, **more: Any) -> ReportCell:
    return a_cell(saver, loader, "error", **(REFUSED | more))


class Line:
    """A history without branches from release 2.3, c0, to 2.4, the last commit."""

    def __init__(self, length: int) -> None:
        self.commits = [f"c{n}" for n in range(length)]

    def commit(self, ref: str) -> str:
        if ref not in ("2.3", "2.4"):
            raise UsageError(f"no {ref}")
        return self.commits[0 if ref == "2.3" else -1]

    def bases(self, one: str, other: str) -> list[str]:
        return [min(one, other, key=self.commits.index)]

    def between(self, older: Iterable[str], newer: str) -> list[str]:
        start = max(map(self.commits.index, older)) + 1
        return self.commits[start : self.commits.index(newer) + 1][::-1]

    def halfway(self, newer: str, older: Iterable[str], skipped: Collection[str]) -> str | None:
        left = [c for c in self.between(older, newer) if c != newer and c not in skipped]
        return left[len(left) // 2] if left else None

    def describe(self, commit: str) -> Commit:
        number = int(commit[1:])
        return Commit(id=f"{number:040d}", subject=f"Change (#{number})", date="2025-05-19")

    def on_main(self, commit: str) -> Commit:
        return self.describe(commit)

    def original(self, _commit: str) -> None:
        return None

    def files(self, commit: str) -> tuple[str, ...]:
        return ("transformer_engine/pytorch/module/base.py", "README.rst")

    def touching(self, *_ignored: Any) -> list[str]:
        return []


class Commits:
    """Sees what it is told, by scenario: from which commit on which outcome."""

    def __init__(self, told: dict[str, dict[int, str | None]]) -> None:
        self.told = told
        self.judged: dict[str, dict[Walked, Seen | None]] = {}
        self.calls: list[tuple[str, int]] = []

    def between(self, *_ends: str) -> None:
        pass

    def seen(self, commit: str, cells: Iterable[Walked]) -> dict[Walked, Seen | None]:
        wanted = list(cells)
        self.calls.append((commit, len(wanted)))
        known = self.judged.setdefault(commit, {})
        for cell in wanted:
            told = self.told[cell.scenario]
            outcome = told[max(n for n in told if n <= int(commit[1:]))]
            kind = "load_state_dict KeyError" if outcome == "error" else ""
            reason = "KeyError at load_state_dict: 'recipe'" if kind else ""
            known[cell] = outcome and Seen(outcome, reason, kind, (), "2.4.0")  # type: ignore[assignment]
        return {cell: known[cell] for cell in wanted}


def traced(
    found: list[Difference], told: dict[str, dict[int, str | None]], length: int = 33
) -> tuple[list[attributing.Step], Commits]:
    commits = Commits(told)
    history = cast("History", Line(length))
    attribution = Attribution(history, cast("CommitJudge", commits), found)
    return list(attribution.steps()), commits


def mended(*scenarios: str) -> tuple[Any, list[Difference]]:
    """A report in which 2.4 loads what 2.3 refuses, and the differences in it."""
    cells = []
    for name in scenarios:
        cells += [refused("1.13", "2.3", scenario=name), a_cell("1.13", "2.4", scenario=name)]
        cells += [refused("1.12", "2.3", scenario=name), a_cell("1.12", "2.4", scenario=name)]
    report = a_report(*cells)
    found = attributing.differences(report, ORDER)
    assert list(found) == [("2.4", "2.3")]
    return report, found["2.4", "2.3"]


def test_cells_alike_word_for_word_are_one_difference() -> None:
    _report, found = mended("autocast", "attention-only")
    assert [(one.role, len(one.pairs), one.ends) for one in found] == [
        ("loader", 4, ("error", "loaded"))
    ]


def test_another_message_is_another_difference_and_another_number_is_none() -> None:
    cells = [a_cell(saver, "2.4") for saver in ("1.11", "1.12", "1.13")]
    for saver, message in (("1.11", "length 16"), ("1.12", "length 1024"), ("1.13", "'recipe'")):
        cells.append(refused(saver, "2.3", error_message=message))
    found = attributing.differences(a_report(*cells), ORDER)["2.4", "2.3"]
    assert sorted(len(one.pairs) for one in found) == [1, 2]


def test_what_was_not_seen_is_no_difference() -> None:
    cells = [a_cell("1.13", "2.4")]
    assert attributing.differences(a_report(*cells), ORDER) == {}
    cells.append(a_cell("1.13", "2.3", "not-run", verdict="not-run", stage=None))
    assert attributing.differences(a_report(*cells), ORDER) == {}


def two(told: dict[str, dict[int, str | None]]) -> tuple[list[Change], Commits]:
    """The rows for two scenarios that are followed apart, and what measured them."""
    cells = [refused("1.13", "2.3", scenario="autocast"), a_cell("1.13", "2.4")]
    cells += [
        refused("1.13", "2.3", scenario="attention-only", error_message="other"),
        a_cell("1.13", "2.4", scenario="attention-only"),
    ]
    report = a_report(*cells)
    steps, commits = traced(attributing.differences(report, ORDER)["2.4", "2.3"], told)
    return list(attributing.merged(steps, report, ORDER)), commits


def test_differences_of_one_commit_share_its_row_and_the_commits_that_were_run() -> None:
    told: dict[int, str | None] = {0: "error", 20: "loaded"}
    rows, commits = two({"autocast": told, "attention-only": told})
    (row,) = rows
    assert (row.commit, row.pulls, row.basis) == (f"{20:040d}", (20,), "commit")
    assert row.files == ("transformer_engine/pytorch/module/base.py",)
    assert sum(effect.cells for effect in row.effect) == 2
    assert len({commit for commit, _count in commits.calls}) == len(commits.calls)


def test_differences_of_two_commits_have_two_rows() -> None:
    rows, _commits = two(
        {"autocast": {0: "error", 20: "loaded"}, "attention-only": {0: "error", 7: "loaded"}}
    )
    assert {row.pulls for row in rows} == {(20,), (7,)}
    assert all(sum(effect.cells for effect in row.effect) == 1 for row in rows)


def test_commits_that_cannot_be_judged_make_a_range() -> None:
    told: dict[int, str | None] = {0: "error", 18: None, 20: "loaded"}
    (row,), _commits = two({"autocast": told, "attention-only": told})
    assert (row.basis, row.left) == ("range", ("c20", "c19", "c18"))
    assert row.why == "2 commits before it could not be judged"


def test_trees_that_show_something_else_than_the_releases_are_named() -> None:
    told: dict[int, str | None] = {0: "error", 20: "defaults"}
    (row,), _commits = two({"autocast": told, "attention-only": told})
    assert (row.basis, row.commit) == ("unknown", None)
    assert row.why == "the trees of the two in the repository show error and defaults"


def test_a_release_that_the_repository_lacks_is_named() -> None:
    cells = [a_cell("1.13", "2.19"), refused("1.13", "2.20.2")]
    found = attributing.differences(a_report(*cells), ORDER)["2.20.2", "2.19"]
    steps, _commits = traced(found, {})
    assert [(step.located, step.why) for step in steps] == [(None, "no 2.19.")]


def test_rows_of_the_same_releases_are_replaced_and_others_stay() -> None:
    told: dict[int, str | None] = {0: "error", 20: "loaded"}
    rows, _commits = two({"autocast": told, "attention-only": told})
    other = rows[0].model_copy(update={"release": "1.6", "after": "1.5"})
    stale = rows[0].model_copy(update={"commit": "f" * 40})
    table = attributing.joined(Changes(change=(stale, other)), rows, ORDER)
    assert table.change == (other, *rows)


@pytest.mark.parametrize(
    ("update", "shown"),
    [
        ({}, "| `000000000`: Change (#20) | #20 |"),
        ({"main": "b" * 40}, ", on main `bbbbbbbbb`"),
        ({"main": "b" * 40, "alike": True}, ", by its effect on main `bbbbbbbbb`"),
        ({"way": "lacks"}, "; 2.4 lacks it"),
        ({"basis": "range", "left": ("a", "b"), "why": "w"}, "| one of 2 commits, last "),
        ({"basis": "unknown", "commit": None, "why": "no tag"}, "| not known: no tag |"),
        ({"subject": "a | b"}, r"a \| b"),
    ],
)
def test_the_page_says_how_far_each_change_was_traced(update: dict[str, Any], shown: str) -> None:
    told: dict[int, str | None] = {0: "error", 20: "loaded"}
    (row,), _commits = two({"autocast": told, "attention-only": told})
    page = changes_page.page(Changes(change=(row.model_copy(update=update),)))
    assert shown in page
    assert "loading: error → loaded (2)" in page
    exact = update.get("basis", "commit") == "commit"
    assert f"1 row: {int(exact)} are one commit, {int(not exact)} could not" in page
