"""Rule: the table of saboteurs is whole, and whatever is not caught as it says fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from helpers.builders import a_report
from matrix.catalogue.words import Lane, Standing
from matrix.report.document import Report
from matrix.report.qualification import Match, Qualification, StandingGroup
from saboteurs import __main__ as session
from saboteurs import table
from saboteurs.table import HERE, Saboteur, Wound
from saboteurs.trial import Finding, verdict

NAME = "2.16@aaaaaaaa"
CELL, OTHER = f"autocast/plain/1.11->{NAME}", f"autocast/plain/2.9->{NAME}"
ROW = Saboteur(
    fault="nothing",
    bench="loader",
    wound=(
        Wound(worse=("1.11->X",), seen="partial", cause="scale is not"),
        Wound(worse=("control own", "save"), seen="error"),
    ),
)


def test_every_fault_is_tried_and_there_are_enough() -> None:
    tried = {row.fault for row in table.load().saboteur}
    files = {path.stem for path in (HERE / "faults").glob("*.py")}
    assert files - tried == {"nothing"}
    assert len(tried) >= 40
    assert all(row.summary for row in table.load().saboteur)


def test_the_documents_table_is_current() -> None:
    """Renew it by ``python -m saboteurs --markdown`` in ``tests/``."""
    text = (HERE.parents[1] / "docs" / "proof.md").read_text(encoding="utf-8")
    assert table.markdown(table.load()) in text


def group(
    thing: str, standing: str = "worse", after: str = "error", why: str = ""
) -> StandingGroup:
    kind, _, name = thing.rpartition("/")
    kind = {"control": "controls", "save": "saves"}.get(kind.partition("/")[0], "cells")
    return StandingGroup(
        standing=Standing(standing),
        kind=kind,
        control=name if kind == "controls" else "",
        before="loaded",
        after=after,
        reason=why,
        ids=(thing,),
        where=(),
    )


CAUGHT = group(CELL, after="partial", why="a: forward.scale is not the checkpoint's")
CONTROL = group(f"control/autocast/{NAME}/own")
SAVE = group(f"save/autocast/{NAME}")
REST = (CONTROL, SAVE)


def report_of(*groups: StandingGroup, exit_code: int = 1) -> Report:
    made = Qualification(
        matches=(Match(name=NAME, digest="", source="s", baseline="2.16"),),
        evidence="e",
        exit_code=exit_code,
        counts={},
        groups=groups,
        lane=Lane.CPU,
        torch=(),
        live=0,
        recorded=0,
    )
    return a_report(qualification=made, exit_code=exit_code)


def test_what_is_worse_as_the_table_says_is_caught() -> None:
    found = verdict(ROW, report_of(CAUGHT, *REST, group(OTHER, "same"), group(OTHER, "changed")))
    assert found.complaints == ()
    assert found.wounded == ("1.11->X", "control own", "save")


@pytest.mark.parametrize(
    ("groups", "complaint"),
    [
        ([group(CELL, "same", "loaded"), *REST], "1.11->X is same: loaded"),
        ([group(CELL, "changed", "partial", "scale is not"), *REST], "1.11->X is changed"),
        ([group(CELL, after="partial", why="no"), *REST], "1.11->X is worse as another thing"),
        ([group(CELL, after="defaults"), *REST], "1.11->X is worse as another thing"),
        ([CAUGHT, *REST, group(OTHER)], "2.9->X is worse: loaded -> error"),
        ([CAUGHT, *REST, group(f"autocast/plain/{NAME}->2.9")], "X->2.9 is worse"),
        ([CAUGHT, *REST, group(f"control/autocast/{NAME}/again")], "control again is worse"),
        ([CAUGHT, SAVE], "nothing is control own"),
        ([CAUGHT, CONTROL], "nothing is save"),
        (REST, "nothing is 1.11->X"),
        ([CAUGHT, *REST, group(OTHER, "missing", "infra")], "2.9->X has no outcome: infra"),
    ],
)
def test_exactly_what_the_table_says_must_be_worse(
    groups: list[StandingGroup], complaint: str
) -> None:
    complaints = verdict(ROW, report_of(*groups)).complaints
    assert any(complaint in line for line in complaints)


@pytest.mark.parametrize("exit_code", [0, 3, 4])
def test_the_exit_code_must_be_that_of_a_finding(exit_code: int) -> None:
    found = verdict(ROW, report_of(CAUGHT, *REST, exit_code=exit_code))
    assert found.complaints == (f"exit code {exit_code}, not 1",)


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
