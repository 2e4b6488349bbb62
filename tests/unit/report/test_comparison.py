"""Rule: a candidate is held to what its baseline does, and whatever is worse fails."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from helpers.builders import a_cell, a_report
from matrix.catalogue.words import Standing
from matrix.errors import ExitCode
from matrix.report import comparison, standings
from matrix.report.cells import PartRow, ReportCell
from matrix.report.comparison import Compared
from matrix.report.document import ControlRow, Report, SaveRow

NEW = "2.6@aaaaaaaa"
INSTEAD = {NEW: "2.5"}
ATTENTION, LINEAR = "core_attention", "qkv"


def part(name: str, outcome: str, **more: Any) -> PartRow:
    fields = {"resized": False, "after_load": "updates" if outcome == "loaded" else "untested"}
    return PartRow(name=name, attention=name == ATTENTION, outcome=outcome, **(fields | more))


def load(state: str, linear: str = "loaded") -> dict[str, Any]:
    """The fields of a cell whose attention and whose linear came to this."""
    word, _, mark = state.partition(" ")
    if word == "error":
        return {"outcome": "error", "held": (ATTENTION, LINEAR)}
    frozen = {"after_load": "frozen"} if mark == "frozen" else {}
    attention = part(ATTENTION, word, resized=mark == "resized", **frozen)
    return {
        "outcome": word,
        "after_load": attention.after_load,
        "resized": attention.resized,
        "rest": linear,
        "weights": "changed" if mark == "weights" else "equal",
        "held": (ATTENTION, LINEAR),
        "parts": (attention, part(LINEAR, linear)),
    }


def cells(before: dict[str, Any], after: dict[str, Any]) -> tuple[ReportCell, ReportCell]:
    before, after = dict(before), dict(after)
    return (
        a_cell("2.4", "2.5", before.pop("outcome"), **before),
        a_cell("2.4", NEW, after.pop("outcome"), **after),
    )


def compared(before: ReportCell, after: ReportCell, **more: Any) -> list[Compared]:
    return comparison.compare(a_report(before), a_report(after), INSTEAD, **more)


def standing(before: dict[str, Any], after: dict[str, Any]) -> Standing:
    (found,) = compared(*cells(before, after))
    assert (found.code == ExitCode.DEVIATES) == (found.standing == Standing.WORSE)
    return found.standing


# The order, the best first: each is worse than all before it.
HELD = [
    load("loaded"),
    load("loaded resized"),
    load("error"),
    load("defaults"),
    load("partial"),
    load("partial weights"),
]


@pytest.mark.parametrize("good", range(len(HELD)))
@pytest.mark.parametrize("bad", range(len(HELD)))
def test_a_loud_failure_is_better_than_a_silent_loss(good: int, bad: int) -> None:
    expected = Standing.SAME if good == bad else Standing.WORSE if bad > good else Standing.BETTER
    assert standing(HELD[good], HELD[bad]) == expected


@pytest.mark.parametrize("before", ["loaded", "loaded resized", "error", "defaults"])
def test_what_is_frozen_is_as_bad_as_what_is_partial(before: str) -> None:
    assert standing(load(before), load("loaded frozen")) == Standing.WORSE


def test_metadata_that_was_frozen_and_is_gone_is_worse_and_an_error_is_better() -> None:
    assert standing(load("loaded frozen"), load("defaults")) == Standing.WORSE
    assert standing(load("loaded frozen"), load("partial")) == Standing.WORSE
    assert standing(load("loaded frozen"), load("error")) == Standing.BETTER
    assert standing(load("loaded frozen"), load("loaded")) == Standing.BETTER
    assert standing(load("loaded frozen"), load("loaded frozen")) == Standing.SAME


@pytest.mark.parametrize("outcome", ["none", "defaults"])
def test_where_the_checkpoint_held_nothing_going_through_is_better_than_an_error(
    outcome: str,
) -> None:
    through = {"outcome": outcome, "parts": (part(ATTENTION, outcome),), "held": ()}
    error = {"outcome": "error", "held": ()}
    assert standing(through, error) == Standing.WORSE
    assert standing(error, through) == Standing.BETTER
    assert standing(through, through) == Standing.SAME


def test_where_the_loader_knows_none_going_through_is_better_than_an_error() -> None:
    knows_none = {**load("none"), "parts": (part(ATTENTION, "none"),), "held": (ATTENTION,)}
    assert standing(knows_none, {"outcome": "error", "held": (ATTENTION,)}) == Standing.WORSE
    assert standing(knows_none, knows_none) == Standing.SAME


def test_metadata_that_the_baseline_kept_and_the_candidate_no_longer_knows_is_lost() -> None:
    gone = {**load("none"), "parts": (part(ATTENTION, "none"), part(LINEAR, "loaded"))}
    assert standing(load("loaded"), gone) == Standing.WORSE


@pytest.mark.parametrize("linear", ["defaults", "partial", "none"])
@pytest.mark.parametrize("attention", ["loaded", "defaults"])
def test_a_part_other_than_the_attention_that_is_lost_is_worse(attention: str, linear: str) -> None:
    assert standing(load(attention), load(attention, linear)) == Standing.WORSE
    assert standing(load(attention, linear), load(attention)) == Standing.BETTER


def test_what_is_worse_in_one_respect_is_worse_whatever_is_better() -> None:
    assert standing(load("defaults"), load("loaded", "defaults")) == Standing.WORSE


def test_a_part_that_goes_missing_is_lost() -> None:
    without = {**load("loaded"), "parts": (part(ATTENTION, "loaded"),)}
    assert standing(load("loaded"), without) == Standing.WORSE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "same"),
        ({"error_type": "RuntimeError"}, "changed"),
        ({"stage": "deserialize"}, "changed"),
        ({"error_message": "'scale'"}, "changed"),
        ({"unexpected_keys": ("a._extra_state",)}, "changed"),
    ],
)
def test_an_error_for_another_reason_is_a_change(change: dict[str, Any], expected: str) -> None:
    assert standing(load("error"), {**load("error"), **change}) == expected


def test_an_error_that_names_its_own_version_or_an_address_is_the_same() -> None:
    texts = [f"{name} at {at}" for name, at in (("2.5", "0x7f12"), (NEW, "0x7fff"))]
    old, new = ({**load("error"), "error_message": text} for text in texts)
    assert standing(old, new) == Standing.SAME


def test_what_is_partial_for_more_reasons_is_worse_and_for_others_is_changed() -> None:
    one = {**load("partial"), "note": "a: scale is not the checkpoint's"}
    two = {**one, "note": f"{one['note']}; b: scale is not the checkpoint's"}
    other = {**one, "note": "b: scale is not the checkpoint's"}
    assert standing(one, two) == Standing.WORSE
    assert standing(one, other) == Standing.CHANGED
    assert standing(one, one) == Standing.SAME


def test_documented_or_not_and_in_the_ledger_or_not_what_is_worse_fails() -> None:
    for more in ({"verdict": "undocumented"}, {"verdict": "known-deviation"}, {}):
        assert standing(load("loaded"), {**load("defaults"), **more}) == Standing.WORSE


def test_a_load_of_which_the_parts_are_not_known_is_told_by_its_outcome() -> None:
    bare = [{"outcome": word} for word in ("loaded", "error", "defaults", "partial")]
    for better, worse in itertools.pairwise(bare):
        assert standing(better, worse) == Standing.WORSE
        assert standing(worse, better) == Standing.BETTER


def test_as_saver_a_candidate_is_held_to_what_loaded_the_baselines_saves() -> None:
    before = a_report(a_cell("2.5", "2.7"), a_cell("2.5", "2.5"), a_cell("2.7", "2.7", "error"))
    after = a_report(
        a_cell(NEW, "2.7", "defaults"),
        a_cell(NEW, "2.5", "defaults"),
        a_cell("2.5", NEW),
        a_cell(NEW, NEW),
        a_cell("2.7", "2.7", "defaults"),
    )
    found = {one.id: one.standing.value for one in comparison.compare(before, after, INSTEAD)}
    assert found == {
        f"autocast/plain/{NEW}->2.7": "worse",
        f"autocast/plain/{NEW}->2.5": "worse",
        f"autocast/plain/2.5->{NEW}": "same",
        f"autocast/plain/{NEW}->{NEW}": "same",
    }


def test_an_opt_in_that_only_one_of_them_has_is_held_against_a_plain_load() -> None:
    plain = [a_cell("2.4", loader, "error") for loader in ("2.5", NEW)]
    trusted = [a_cell("2.4", loader, variant="trusted") for loader in ("2.5", NEW)]
    asked = {"plain", "trusted"}
    new = comparison.compare(a_report(plain[0]), a_report(plain[1], trusted[1]), INSTEAD, asked)
    assert [one.standing for one in new] == ["same", "better"]
    gone = comparison.compare(a_report(plain[0], trusted[0]), a_report(plain[1]), INSTEAD, asked)
    assert [(one.id, one.standing) for one in gone] == [
        (plain[1].id, "same"),
        (trusted[1].id, "worse"),
    ]
    # What was not asked for is not missed.
    (only,) = comparison.compare(a_report(plain[0], trusted[0]), a_report(plain[1]), INSTEAD)
    assert only.standing == Standing.SAME


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("loaded", "infra", 4),
        ("loaded", "not-run", 3),
        ("not-run", "loaded", 3),
        ("infra", "loaded", 3),
        ("infra", "infra", 4),
    ],
)
def test_what_has_no_outcome_is_missing(before: str, after: str, code: int) -> None:
    absent = {word: {"verdict": word, "stage": None} for word in ("infra", "not-run")}
    old = a_cell("2.4", "2.5", before, **absent.get(before, {}))
    new = a_cell("2.4", NEW, after, **absent.get(after, {}))
    (found,) = compared(old, new)
    assert (found.standing, found.code) == (Standing.MISSING, code)


def test_a_baseline_that_lacks_a_cell_says_so() -> None:
    (found,) = compared(a_cell("2.3", "2.5"), a_cell("2.4", NEW))
    assert (found.standing, found.code) == (Standing.MISSING, ExitCode.INCOMPLETE)
    assert found.reason == "the baseline has no evidence for it"


def test_nothing_to_compare_is_no_answer() -> None:
    assert comparison.exit_code([]) == ExitCode.INCOMPLETE


# Saves.


def save(release: str, outcome: str = "saved", **more: Any) -> SaveRow:
    fields = {"documented": "a", "observed": "a", "conforms": True, "outcome": outcome}
    return SaveRow(scenario="autocast", release=release, **(fields | more))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, "same"),
        ({}, {"outcome": "error", "note": "no"}, "worse"),
        ({}, {"outcome": "spoilt", "note": "a: no"}, "worse"),
        ({"outcome": "error"}, {"outcome": "spoilt"}, "worse"),
        ({"outcome": "spoilt"}, {"outcome": "error"}, "better"),
        ({"outcome": "spoilt", "note": "a"}, {"outcome": "spoilt", "note": "a; b"}, "worse"),
        ({"outcome": "error", "note": "a"}, {"outcome": "error", "note": "b"}, "changed"),
        ({}, {"observed": "none"}, "worse"),
        ({}, {"observed": "b", "conforms": False}, "worse"),
        ({}, {"observed": "b"}, "changed"),
    ],
)
def test_a_checkpoint_that_is_wrong_and_looks_right_is_worse_than_none(
    before: dict[str, Any], after: dict[str, Any], expected: str
) -> None:
    old = a_report(a_cell("2.5", "2.5"), saves=(save("2.5", **before),))
    new = a_report(a_cell(NEW, NEW), saves=(save(NEW, **after), save("2.4", "spoilt")))
    found = comparison.compare(old, new, INSTEAD)
    assert {one.id: one.standing for one in found if one.kind == "saves"} == {
        f"save/autocast/{NEW}": expected
    }


# Controls.


def control(release: str, observed: str, *, name: str = "own", **more: Any) -> ControlRow:
    required = {"own": "loaded", "truncated": "not loaded", "empty": "shown only"}[name]
    good = {"loaded": observed == "loaded", "not loaded": observed != "loaded"}.get(required, True)
    fields = {"control": name, "required": required, "observed": observed, "good": good}
    return ControlRow(scenario="autocast", release=release, **(fields | more))


@pytest.mark.parametrize(
    ("name", "before", "after", "expected"),
    [
        ("own", "loaded", "loaded", "same"),
        ("own", "loaded", "defaults", "worse"),
        ("own", "error", "loaded", "better"),
        ("own", "error", "error", "same"),
        ("own", "error", "defaults", "changed"),
        ("truncated", "error", "defaults", "worse"),
        ("truncated", "defaults", "error", "better"),
        ("truncated", "error", "loaded", "worse"),
        ("empty", "defaults", "error", "changed"),
        ("own", "loaded", "infra", "missing"),
        ("own", "infra", "loaded", "missing"),
    ],
)
def test_controls(name: str, before: str, after: str, expected: str) -> None:
    old = a_report(a_cell("2.5", "2.5"), controls=(control("2.5", before, name=name),))
    new = a_report(a_cell(NEW, NEW), controls=(control(NEW, after, name=name),))
    (found,) = [one for one in comparison.compare(old, new, INSTEAD) if one.kind == "controls"]
    assert found.standing == expected
    if after == "infra":
        assert found.code == ExitCode.INFRA


# By cause.


def qualified(before: Report, after: Report) -> Report:
    rows = [row.model_copy(update={"candidate": "@" in row.name}) for row in after.releases]
    after = after.model_copy(update={"releases": tuple(rows)})
    found = comparison.compare(before, after, INSTEAD)
    return standings.with_qualification(after, found, INSTEAD, "recorded evidence")


def test_one_cause_is_one_line_with_ranges_of_releases() -> None:
    savers = ["2.3", "2.4"]
    before = a_report(*(a_cell(saver, "2.5") for saver in savers))
    notes = "qkv: scale is not the checkpoint's; proj: scale is not the checkpoint's"
    after = a_report(*(a_cell(saver, NEW, "partial", note=notes) for saver in savers))
    report = qualified(before, after)
    assert report.exit_code == ExitCode.DEVIATES
    assert report.qualification is not None
    assert list(standings.lines(report.qualification, Standing.WORSE, 10)) == [
        "worse, 2 cells: loaded -> partial",
        "    qkv, proj: scale is not the checkpoint's",
        f"    autocast/plain: 2.3-2.4 -> {NEW}",
    ]
    assert report.qualification.totals == "cells: 2 worse; saves: none; controls: none"


def test_the_answer_always_has_its_limits() -> None:
    report = qualified(a_report(a_cell("2.4", "2.5")), a_report(a_cell("2.4", NEW)))
    assert report.qualification is not None
    assert report.qualification.sentence == (
        f"{NEW} against 2.5: qualified (lane cpu, no kernels were run, PyTorch none, "
        "1 cell live, 0 recorded)."
    )


def test_what_is_inherited_is_counted_and_no_failure() -> None:
    before, after = a_cell("2.4", "2.5", "error"), a_cell("2.4", NEW, "error")
    report = qualified(a_report(before), a_report(after))
    assert report.exit_code == ExitCode.OK
    assert report.qualification is not None
    assert report.qualification.inherited == 1
