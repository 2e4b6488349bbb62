"""Rule: the table of saboteurs is whole, and whatever is not caught as it says fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from helpers.builders import a_cell, a_report
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from saboteurs import __main__ as session
from saboteurs import table
from saboteurs.table import HERE, Saboteur, Wound
from saboteurs.trial import Finding, verdict

NAME = "2.16@aaaaaaaa"
ROW = Saboteur(
    fault="nothing",
    bench="loader",
    exit=1,
    wound=(Wound(cells="1.11->X", seen="partial", cause="scale is not"),),
)
CAUGHT = a_cell("1.11", NAME, "partial", note="forward.scale is not the checkpoint's")


def test_every_fault_is_tried_and_there_are_enough() -> None:
    tried = {row.fault for row in table.load().saboteur}
    files = {path.stem for path in (HERE / "faults").glob("*.py")}
    assert files - tried == {"nothing"}
    assert len(tried) >= 20
    assert all(row.summary for row in table.load().saboteur)


def test_the_documents_table_is_current() -> None:
    """Renew it by ``python -m saboteurs --markdown`` in ``tests/``."""
    text = (HERE.parents[1] / "docs" / "proof.md").read_text(encoding="utf-8")
    assert table.markdown(table.load()) in text


def report_of(*cells: ReportCell) -> Report:
    report = a_report(*cells)
    rows = [row.model_copy(update={"candidate": "@" in row.name}) for row in report.releases]
    return report.model_copy(update={"releases": tuple(rows)})


@pytest.mark.parametrize(
    ("cells", "exit_code", "complaint"),
    [
        ([CAUGHT], 1, ""),
        ([CAUGHT], 4, "exit code 4, not 1"),
        ([a_cell("1.11", NAME)], 1, "1.11->X passes: loaded"),
        ([a_cell("1.11", NAME, "partial", note="no")], 1, "1.11->X fails as another thing"),
        ([a_cell("1.11", NAME, "defaults")], 1, "1.11->X fails as another thing"),
        ([CAUGHT, a_cell("2.9", NAME, "partial")], 1, "2.9->X fails"),
        ([CAUGHT, a_cell("2.9", "2.9", "error")], 1, "2.9->2.9 fails"),
        ([a_cell("2.9", NAME)], 1, "no cell is 1.11->X"),
    ],
)
def test_the_gate_must_say_what_the_table_says(
    cells: list[ReportCell], exit_code: int, complaint: str
) -> None:
    complaints = verdict(ROW, exit_code, report_of(*cells)).complaints
    assert bool(complaints) == bool(complaint)
    assert any(complaint in line for line in complaints) or not complaint


def test_an_unknown_name_is_no_pass() -> None:
    with pytest.raises(
        SystemExit, match=r"no saboteur strict_ignore\. Did you mean strict_ignored"
    ):
        session.main(["first_layer_only", "strict_ignore"])


def finding(*complaints: str) -> Finding:
    return Finding("nothing", "loader", "Changes nothing", 0, (), complaints)


@pytest.mark.parametrize(
    ("found", "code"), [([finding()], 0), ([finding(), finding("passes")], 1), ([], 1)]
)
def test_a_survivor_fails_the_session(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: list[Finding],
    code: int,
) -> None:
    play: Callable[..., list[Finding]] = lambda *_arguments: found  # noqa: E731
    monkeypatch.setattr(session, "findings", play)
    assert session.main([]) == code
    assert f"{len(found)} saboteurs" in capsys.readouterr().out
