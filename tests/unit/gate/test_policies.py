"""Rule: what passes and what fails is the policy's to say, and each failure has its code."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.builders import a_cell, a_report, entry_fields
from matrix.catalogue import releases
from matrix.errors import ExitCode
from matrix.gate import policies
from matrix.gate.policies import Check, Policy
from matrix.report.cells import ReportCell
from matrix.report.document import LedgerRow, Report, SaveRow

ORDER = releases.order(["2.18@aaaaaaaa"])
KNOWN = a_cell("2.4", "2.5", "error", verdict="known-deviation", ledger=("known",))
DEVIATING = a_cell("2.4", "2.5", "error")
INTACT = a_cell("2.4", "2.5")


def absent(word: str) -> ReportCell:
    return a_cell("2.4", "2.5", word, verdict=word, note="why", provenance=None, stage=None)


def entry(**more: Any) -> LedgerRow:
    row = {"state": "used", "cells": 1} | more
    return LedgerRow(**entry_fields("2.4", "2.5", **row))


def gated(report: Report, **asked: Any) -> tuple[list[Check], ExitCode]:
    found = policies.checks(report, Policy(**asked), ORDER)
    return found, policies.exit_code(found)


@pytest.mark.parametrize(
    ("cell", "asked", "state", "code"),
    [
        (INTACT, {}, "pass", 0),
        (a_cell("2.4", "2.5", "error", verdict="undocumented"), {}, "pass", 0),
        (KNOWN, {}, "known", 0),
        (DEVIATING, {}, "fail", 1),
        (KNOWN, {"name": "documented"}, "fail", 1),
        (DEVIATING, {"name": "documented"}, "fail", 1),
        (absent("not-run"), {}, "fail", 3),
        (absent("unavailable"), {}, "fail", 3),
        (absent("inconclusive"), {}, "fail", 3),
        (absent("infra"), {}, "broken", 4),
        (absent("infra"), {"allow_missing": True}, "broken", 4),
        (absent("not-run"), {"name": "documented"}, "fail", 3),
        (INTACT, {"require_lane": "cpu"}, "pass", 0),
        (INTACT, {"require_lane": "gpu"}, "fail", 3),
        (INTACT, {"require_lane": "gpu", "allow_missing": True}, "fail", 3),
        (DEVIATING, {"require_lane": "gpu"}, "fail", 1),
        (KNOWN, {"require_lane": "gpu"}, "fail", 3),
        (INTACT, {"require_live": True}, "pass", 0),
        (a_cell("2.4", "2.5", provenance="recorded"), {"require_live": True}, "fail", 3),
        (a_cell("2.4", "2.5", provenance="recorded"), {"require_live": True,
         "allow_missing": True}, "fail", 3),
    ],
)  # fmt: skip
def test_one_cell(cell: ReportCell, asked: dict[str, Any], state: str, code: int) -> None:
    found, exit_code = gated(a_report(cell), **asked)
    assert (found[0].state, exit_code) == (state, code)


def test_what_is_missing_is_skipped_only_where_that_is_allowed() -> None:
    report = a_report(INTACT, a_cell("2.4", "2.6", "not-run", verdict="not-run", note="why"))
    found, code = gated(report, allow_missing=True)
    assert [(check.state, check.reason) for check in found[1:]] == [("skip", "not-run: why")]
    assert code == ExitCode.OK
    assert gated(report)[1] == ExitCode.INCOMPLETE


def test_a_gate_that_looked_at_nothing_cannot_pass() -> None:
    found, code = gated(a_report(absent("not-run")), allow_missing=True)
    assert code == ExitCode.INCOMPLETE
    assert "looked at nothing" in found[-1].reason


@pytest.mark.parametrize(
    ("state", "whole", "code"),
    [
        ("used", True, 0),
        ("unused", False, 0),
        ("unused", True, 1),
        ("expired", False, 1),
        ("stale", False, 1),
    ],
)
def test_ledger_entries(state: str, whole: bool, code: int) -> None:
    report = a_report(KNOWN, ledger=(entry(state=state),), whole=whole)
    assert gated(report)[1] == code
    assert gated(report, name="documented")[1] == ExitCode.DEVIATES


def test_a_cell_that_a_stale_entry_knows_is_a_strict_xfail_that_passed() -> None:
    report = a_report(INTACT, a_cell("2.4", "2.6"), ledger=(entry(state="stale"),))
    found, _code = gated(report)
    assert [check.state for check in found] == ["fixed", "pass", "fail"]
    assert gated(report, name="documented")[1] == ExitCode.OK


def test_a_save_in_an_undocumented_place() -> None:
    row = SaveRow(scenario="autocast", release="2.4", documented="a", observed="b", conforms=False)
    report = a_report(INTACT, saves=(row,))
    assert gated(report)[1] == ExitCode.DEVIATES
    baseline = a_report(INTACT, saves=(row,))
    assert gated(report, name="no-regression", baseline=baseline)[1] == ExitCode.OK
    before = a_report(INTACT, saves=(row.model_copy(update={"observed": "a", "conforms": True}),))
    assert gated(report, name="no-regression", baseline=before)[1] == ExitCode.DEVIATES


@pytest.mark.parametrize(
    ("before", "after", "state", "code"),
    [
        (INTACT, INTACT, "pass", 0),
        (INTACT, DEVIATING, "fail", 1),
        (DEVIATING, DEVIATING, "known", 0),
        (KNOWN, DEVIATING, "fail", 1),
        (DEVIATING, INTACT, "pass", 0),
        (INTACT, absent("not-run"), "fail", 3),
        (INTACT, absent("infra"), "broken", 4),
        (absent("not-run"), DEVIATING, "fail", 1),
        (absent("not-run"), KNOWN, "known", 0),
        (absent("not-run"), INTACT, "pass", 0),
    ],
)
def test_no_regression(before: ReportCell, after: ReportCell, state: str, code: int) -> None:
    found, exit_code = gated(a_report(after), name="no-regression", baseline=a_report(before))
    assert (found[0].state, exit_code) == (state, code)


def test_a_cell_that_the_baseline_lacks_is_held_to_the_ledger() -> None:
    baseline = a_report(a_cell("2.4", "2.4"), a_cell("2.4", "2.17"))
    asked = {"name": "no-regression", "baseline": baseline}
    assert gated(a_report(DEVIATING), **asked)[1] == ExitCode.DEVIATES
    assert gated(a_report(KNOWN), **asked)[1] == ExitCode.OK


def test_a_candidate_stands_against_the_newest_release_of_the_baseline() -> None:
    baseline = a_report(a_cell("2.4", "2.17.1", "error"))
    for outcome, code in (("error", ExitCode.OK), ("partial", ExitCode.OK)):
        report = a_report(a_cell("2.4", "2.18@aaaaaaaa", outcome))
        found, exit_code = gated(report, name="no-regression", baseline=baseline)
        assert (found[0].state, exit_code) == ("known", code)
    known = a_cell("2.4", "2.17.1", "error", verdict="known-deviation", ledger=("known",))
    report = a_report(a_cell("2.4", "2.18@aaaaaaaa", "error"))
    assert gated(report, name="no-regression", baseline=a_report(known))[1] == ExitCode.OK
    worse = a_report(a_cell("2.4", "2.18@aaaaaaaa", "defaults"))
    assert gated(worse, name="no-regression", baseline=a_report(known))[1] == ExitCode.DEVIATES
    better = a_report(a_cell("2.4", "2.17.1"))
    report = a_report(a_cell("2.4", "2.18@aaaaaaaa", "defaults"))
    assert gated(report, name="no-regression", baseline=better)[1] == ExitCode.DEVIATES


def test_the_worst_code_wins() -> None:
    cells = [absent("not-run"), a_cell("2.4", "2.6", "infra", verdict="infra")]
    assert gated(a_report(*cells))[1] == ExitCode.INFRA
    assert gated(a_report(*cells, a_cell("2.5", "2.6", "error")))[1] == ExitCode.DEVIATES


WITHOUT = [
    a_cell(saver, loader, "infra", verdict="infra", note="no einops", lacking="2.9")
    for saver, loader in (("2.9", "2.4"), ("2.9", "2.5"), ("2.4", "2.9"))
]


def test_a_release_that_could_not_take_part_is_one_check_that_fails() -> None:
    found, code = gated(a_report(INTACT, *WITHOUT))
    assert [(check.id, check.state) for check in found if check.state != "skip"] == [
        ("release/2.9", "broken"),
        (INTACT.id, "pass"),
    ]
    assert found[0].reason == "infra: no einops: 3 cells without outcome"
    assert {check.answered_by for check in found if check.state == "skip"} == {"release/2.9"}
    assert code == ExitCode.INFRA


def test_each_cause_of_a_release_is_a_check_of_its_own() -> None:
    other = a_cell("2.9", "2.6", "infra", verdict="infra", note="no space left", lacking="2.9")
    found, _code = gated(a_report(INTACT, *WITHOUT, other))
    assert [check.id for check in found][:2] == ["release/2.9", "release/2.9/2"]


def test_a_release_whose_source_is_missing_fails_unless_that_is_allowed() -> None:
    cell = a_cell("2.9", "2.4", "unavailable", verdict="unavailable", note="no net", lacking="2.9")
    report = a_report(INTACT, cell)
    assert gated(report)[1] == ExitCode.INCOMPLETE
    found, code = gated(report, allow_missing=True)
    assert code == ExitCode.OK
    assert [(check.id, check.state) for check in found[1:]] == [(cell.id, "skip")]
