"""Rule: releases stand together when they behave alike, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.builders import a_cell, a_report
from matrix.catalogue import releases
from matrix.cli import main
from matrix.report import behaviour
from matrix.report.cells import ReportCell

ORDER = releases.order([])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def discovered(*cells: ReportCell) -> behaviour.BehaviourBands:
    (found,) = behaviour.discover(a_report(*cells), ORDER)
    return found


def grid(loaders: list[str], bad: dict[tuple[str, str], str]) -> list[ReportCell]:
    """Every pair of the releases, loaded unless named as (saver, loader)."""
    return [
        a_cell(saver, loader, bad.get((saver, loader), "loaded"))
        for saver in loaders
        for loader in loaders
    ]


def test_a_set_that_is_not_contiguous_is_never_bridged() -> None:
    releases = ["2.15", "2.16", "2.16.1", "2.17", "2.17.1"]
    guarded = {(saver, loader): "error" for saver in releases for loader in ("2.16.1", "2.17.1")}
    found = discovered(*grid(releases, guarded))
    assert [one.releases for one in found.behaviours] == [
        ("2.15", "2.16", "2.17"),
        ("2.16.1", "2.17.1"),
    ]
    text = "\n".join(behaviour.lines(found, ORDER))
    assert "A   2.15-2.16, 2.17\n" in text
    assert "B   2.16.1, 2.17.1\n" in text
    assert [(change.release, change.again) for change in found.changes] == [
        ("2.16.1", False),
        ("2.17", True),
        ("2.17.1", True),
    ]


def test_releases_that_nobody_looked_at_are_no_part_of_a_range() -> None:
    found = discovered(*grid(["2.4", "2.9"], {("2.4", "2.9"): "error"}))
    assert found.changes[0].unseen == ("2.5", "2.6", "2.7", "2.8")
    same = discovered(*grid(["2.4", "2.9"], {}))
    assert "A   2.4, 2.9" in "\n".join(behaviour.lines(same, ORDER))


def test_a_change_says_what_changed_and_with_whom() -> None:
    found = discovered(*grid(["2.3", "2.4", "2.5"], {("2.3", "2.4"): "defaults"}))
    change = found.changes[0]
    assert (change.release, change.after) == ("2.4", "2.3")
    assert behaviour.Shift("loader", "plain", ("2.3",), "loaded", "defaults") in change.shifts
    assert behaviour.Shift("saver", "plain", ("2.4",), "defaults", "loaded") in change.shifts


def test_a_cell_without_outcome_is_like_itself_only() -> None:
    cells = grid(["2.3", "2.4"], {})
    cells[0] = a_cell("2.3", "2.3", "not-run", verdict="not-run", stage=None)
    found = discovered(*cells)
    assert found.without == 1
    assert len(found.behaviours) == 2


def test_the_releases_at_which_behaviour_really_changes() -> None:
    result = CliRunner().invoke(main, ["bands", "--json"])
    found = {one["scenario"]: one for one in json.loads(result.output)["scenarios"]}
    starts = [change["release"] for change in found["autocast"]["changes"]]
    assert starts == ["1.6", "1.8", "1.12", "2.0", "2.4", "2.16.1", "2.17", "2.17.1"]
    coarse = [one["band"] for one in found["fp8-weights"]["faq"] if len(one["parts"]) > 1]
    assert coarse == ["<=1.5", "1.6-1.7", "1.8-1.11", ">=1.12"]


def test_as_text() -> None:
    output = CliRunner().invoke(main, ["bands", "--scenario", "autocast"]).output
    assert "F   2.4-2.16, 2.17\n" in output
    assert ">=1.12    too coarse: D: 1.12-1.14; E: 2.0-2.3;" in output
    assert "2.17 (behaviour F, seen before; after 2.16.1)" in output
    assert "plain, loading 1.8-2.20.2: error -> loaded" in output
