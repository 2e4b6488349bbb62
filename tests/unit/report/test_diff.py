"""Rule: every cell that changed is listed once, with what changed and whether for the worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.builders import a_cell, a_load, a_report, a_save
from matrix.catalogue import releases
from matrix.catalogue.selection import Selection
from matrix.cli import main
from matrix.errors import ExitCode, UsageError
from matrix.plan.cells import Plan
from matrix.report import diff, document
from matrix.report.cells import ReportCell
from matrix.store import recorded
from matrix.store.records import Failure
from matrix.store.store import Store

MakePlan = Callable[..., Plan]
ORDER = releases.order(["2.17.1@aaaaaaaa", "2.18@bbbbbbbb"])
INTACT = a_cell("2.4", "2.5")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recorded, "evidence", lambda lane: None)
    return tmp_path


def compared(before: ReportCell, after: ReportCell) -> diff.Diff:
    return diff.compare(a_report(before), a_report(after), ORDER)


def error(message: str = "'recipe'", **more: Any) -> ReportCell:
    return a_cell("2.4", "2.5", "error", error_message=message, **more)


@pytest.mark.parametrize(
    ("before", "after", "direction", "what", "code"),
    [
        (INTACT, error(), "regression", "outcome reason verdict", 1),
        (error(), INTACT, "improvement", "outcome reason verdict", 0),
        (INTACT, a_cell("2.4", "2.5", after_load="frozen"), "regression", "outcome", 1),
        (
            a_cell("2.4", "2.5", "error", documented="error", verdict="conforms"),
            a_cell("2.4", "2.5", documented="error", verdict="deviates"),
            "regression",
            "outcome reason verdict",
            1,
        ),
        (error(), error("'scale'"), "changed", "reason", 0),
        (error(), error(stage="deserialize"), "changed", "reason", 0),
        (error(), error(unexpected_keys=("a._extra_state",)), "changed", "reason", 0),
        (
            error(verdict="known-deviation", ledger=("known",)),
            error("'scale'"),
            "regression",
            "reason verdict",
            1,
        ),
        (error(), error(verdict="known-deviation"), "improvement", "verdict", 0),
        (INTACT, a_cell("2.4", "2.5", "not-run", verdict="not-run"), "lost", "outcome verdict", 3),
        (INTACT, a_cell("2.4", "2.5", "infra", verdict="infra"), "lost", "outcome verdict", 4),
        (a_cell("2.4", "2.5", "infra", verdict="infra"), error(), "found",
         "outcome reason verdict", 0),
        (INTACT, a_cell("2.4", "2.5", after_load="untested"), "changed", "outcome", 0),
    ],
)  # fmt: skip
def test_what_changed_and_which_way(
    before: ReportCell, after: ReportCell, direction: str, what: str, code: int
) -> None:
    found = compared(before, after)
    (group,) = found.groups
    assert (group.direction, " ".join(group.what)) == (direction, what)
    assert found.exit_code == code


def test_what_did_not_change_is_not_listed() -> None:
    found = compared(INTACT, a_cell("2.4", "2.5", provenance="recorded"))
    assert found.groups == ()
    assert found.exit_code == ExitCode.OK


def test_cells_with_one_cause_stand_together() -> None:
    pairs = [("2.4", "2.5"), ("2.4", "2.6"), ("2.5", "2.5"), ("2.5", "2.6")]
    before = a_report(*(a_cell(*pair) for pair in pairs))
    after = a_report(*(a_cell(*pair, "error") for pair in pairs))
    text = "\n".join(diff.lines(diff.compare(before, after, ORDER), ORDER))
    assert "regression, 4 cells (outcome, reason, verdict):" in text
    assert "autocast/plain: 2.4-2.5 -> 2.5-2.6" in text
    assert "after:  error [deviates] KeyError at load_state_dict: 'recipe'" in text


def test_cells_that_only_one_run_has() -> None:
    before, after = a_report(INTACT, a_cell("2.4", "2.6")), a_report(INTACT, a_cell("2.4", "2.7"))
    found = diff.compare(before, after, ORDER)
    assert [cell.loaded_by for cell in found.added] == ["2.7"]
    assert [cell.loaded_by for cell in found.removed] == ["2.6"]
    assert found.exit_code == ExitCode.OK


def test_runs_with_nothing_in_common_are_no_answer() -> None:
    found = diff.compare(a_report(INTACT), a_report(a_cell("2.4", "2.7")), ORDER)
    assert found.exit_code == ExitCode.INCOMPLETE


def candidates(*cells: ReportCell) -> diff.Diff:
    before = a_report(a_cell("2.4", "2.17.1"), a_cell("2.17.1", "2.17.1"), INTACT)
    return diff.compare(before, a_report(*cells), ORDER, "2.18@bbbbbbbb")


def test_a_candidates_row_and_column_against_the_last_release() -> None:
    found = candidates(
        a_cell("2.4", "2.18@bbbbbbbb", "error"),
        a_cell("2.18@bbbbbbbb", "2.18@bbbbbbbb"),
        a_cell("2.4", "2.5", "error"),
    )
    assert found.compared == 2
    (group,) = found.groups
    assert group.changes[0].before.id == "autocast/plain/2.4->2.17.1"
    assert found.exit_code == ExitCode.DEVIATES


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"release": "2.9"}, "B has no release 2.9"),
        ({"release": "2.4", "against": "2.9"}, "A has no release 2.9"),
        ({"against": "2.4"}, "--against needs --release"),
    ],
)
def test_a_release_that_a_run_lacks(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        diff.compare(a_report(INTACT), a_report(INTACT), ORDER, **options)


def test_new_releases_stand_against_the_newest_that_is_not_newer() -> None:
    before = a_report(a_cell("2.4", "2.17.1"))
    after = a_report(a_cell("2.9", "2.18"), a_cell("2.17.1@aaaaaaaa", "2.4"))
    rows = [row.model_copy(update={"candidate": "@" in row.name}) for row in after.releases]
    found = diff.stand_ins(before, after.model_copy(update={"releases": tuple(rows)}), ORDER)
    assert found == {"2.18": "2.17.1", "2.17.1@aaaaaaaa": "2.17.1"}


# From the command line.


def te_matrix(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def a_store(folder: Path, plan: Plan, message: str | None) -> None:
    """Keep 1.8 -> 1.11 with 1.11's controls; it fails with the message, where there is one."""
    store = Store(folder)
    store.prepare()
    save, own = a_save(plan, "1.8"), a_save(plan, "1.11")
    failed = Failure(type="RuntimeError", message=message or "no")
    store.add(save)
    store.add(own)
    store.add(a_load(plan, save, "1.11", error=failed if message else None))
    for variant in ("plain", "control:again"):
        store.add(a_load(plan, own, "1.11", variant))
    for name in ("unknown-key", "truncated", "empty"):
        store.add(a_load(plan, own, "1.11", f"control:{name}", error=failed))
    store.remember(Selection(saved_by="1.8", loaded_by="1.11", variant="plain"))


def test_two_stores_with_one_outcome_for_two_reasons(elsewhere: Path, make_plan: MakePlan) -> None:
    plan = make_plan(["1.8", "1.11"], ["1.8", "1.11"])
    a_store(elsewhere / "a", plan, "Refusing to load")
    a_store(elsewhere / "b", plan, "size mismatch")
    result = te_matrix("diff", "a", "b")
    assert result.exit_code == 0, result.output
    assert "changed, 1 cell (reason):" in result.output
    assert "RuntimeError at load_state_dict: Refusing to load" in result.output
    assert "RuntimeError at load_state_dict: size mismatch" in result.output


def test_two_stores_with_a_regression(elsewhere: Path, make_plan: MakePlan) -> None:
    plan = make_plan(["1.8", "1.11"], ["1.8", "1.11"])
    a_store(elsewhere / "a", plan, None)
    a_store(elsewhere / "b", plan, "size mismatch")
    result = te_matrix("diff", "a", "b", "--json")
    assert result.exit_code == ExitCode.DEVIATES
    found = json.loads(result.output)
    assert found["counts"]["regression"] == 1
    assert found["groups"][0]["cells"][0]["after"] == "autocast/plain/1.8->1.11"
    assert te_matrix("diff", "a", "a").exit_code == ExitCode.OK


def test_two_reports_as_markdown_that_a_message_cannot_leave(elsewhere: Path) -> None:
    (elsewhere / "a.json").write_text(document.text(a_report(INTACT)))
    hostile = a_report(error("a|b <script> `c` [d](e)"))
    (elsewhere / "b.json").write_text(document.text(hostile))
    result = te_matrix("diff", "a.json", "b.json", "--markdown")
    row = result.output.splitlines()[-1]
    assert "a\\|b &lt;script> \\`c\\` \\[d\\](e)" in row
    assert row.replace("\\|", "").count("|") == 7


def altered(release: str = "1.8", **changes: Any) -> str:
    """The text of a report on one release, with something changed."""
    report = json.loads(document.text(a_report(a_cell("1.8", "1.8"))))
    return json.dumps(report | changes).replace('"1.8"', f'"{release}"')


@pytest.mark.parametrize(
    ("place", "text", "complaint", "code"),
    [
        ("gone", None, "gone is neither a store nor a report.json", ExitCode.USAGE),
        ("gone.json", None, "gone.json cannot be read as a report", ExitCode.INFRA),
        ("torn.json", '{"format": 1', "torn.json cannot be read as a report", ExitCode.INFRA),
        ("other.json", "{}", "other.json cannot be read as a report. Harness", ExitCode.INFRA),
        ("a.json", altered(planned=2), "totals and the number of cells differ", ExitCode.INFRA),
        ("a.json", altered(totals={}), "totals and the number of cells differ", ExitCode.INFRA),
        ("a.json", altered(releases=[]), "saved_by is 0, and releases has 0", ExitCode.INFRA),
        ("a.json", altered("nightly"), "Value error, Invalid version: 'nightly'", ExitCode.INFRA),
    ],
)
def test_what_is_no_run_is_refused(
    elsewhere: Path, place: str, text: str | None, complaint: str, code: int
) -> None:
    if text is not None:
        (elsewhere / place).write_text(text)
    result = te_matrix("diff", place, place)
    assert result.exit_code == code
    assert complaint in result.output


def test_numbers_that_json_does_not_have_come_back(elsewhere: Path) -> None:
    cell = a_cell("2.4", "2.5", output_difference=float("inf"), output_largest=float("nan"))
    (elsewhere / "a.json").write_text(document.text(a_report(cell)))
    assert repr(document.read(elsewhere / "a.json").cells) == repr((cell,))


def test_a_report_with_fields_unknown_here_is_read(elsewhere: Path) -> None:
    data = json.loads(document.text(a_report(INTACT))) | {"later": 1}
    (elsewhere / "a.json").write_text(json.dumps(data))
    assert te_matrix("diff", "a.json", "a.json").exit_code == 0
