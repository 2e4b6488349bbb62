"""Rule: releases stand together when they behave alike, and nowhere else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import docutils.nodes
import pytest
from click.testing import CliRunner
from docutils.core import publish_doctree

from helpers.builders import FAQ_SCENARIOS, a_cell, a_report
from matrix.catalogue import releases, scenarios
from matrix.cli import main
from matrix.report import behaviour
from matrix.report.cells import ReportCell
from matrix.report.document import ReportFile

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


# The corrected FAQ, read back as a reader would, and held against every observed cell.

MEANINGS = {
    r"loads the FP8 metadata of the checkpoint": ("loaded", "updates"),
    r"loads the FP8 metadata of the checkpoint, and never updates it again": ("loaded", "frozen"),
    r"sets the FP8 metadata to its defaults: .*": ("defaults", None),
    r"does not get the weights of the checkpoint back bit for bit": ("partial", None),
    r"has no FP8 attention metadata to load": ("none", None),
    r"error, (\w+) in (\w+)": ("error", None),
}


def names_in(text: str) -> list[str]:
    found = []
    for part in text.split(", "):
        first, _, last = part.partition("-")
        found += ORDER[ORDER.index(first) : ORDER.index(last or first) + 1]
    return found


def scenario_parts(
    document: docutils.nodes.document,
) -> Iterator[tuple[str, docutils.nodes.section]]:
    """Yield the part of every scenario; several scenarios may share one."""
    for part in document.findall(docutils.nodes.section):
        what, _, names = part[0].astext().partition(": ")
        if what == "Checkpoints":
            yield from ((name, part) for name in names.split(", "))


def said(document: docutils.nodes.document) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """Yield ((scenario, variant, saver, loader), sentence) for every line of the section."""
    variants = {v.summary: v.name for v in scenarios.variants().values()}
    for scenario, part in scenario_parts(document):
        loaders: list[str] = []
        for node in part.children:
            if isinstance(node, docutils.nodes.paragraph) and isinstance(
                node[0], docutils.nodes.strong
            ):
                loaders = names_in(node.astext().removeprefix("Version: "))
            if not isinstance(node, docutils.nodes.bullet_list):
                continue
            for item in node.children:
                head = re.match(r"Loading behavior \((.*)\) for", item.children[0].astext())
                if head is None:
                    continue
                for line in item.children[1].children:
                    savers, _, sentence = line.astext().partition(": ")
                    for saver in names_in(savers):
                        for loader in loaders:
                            yield (scenario, variants[head[1]], saver, loader), sentence


def saves(document: docutils.nodes.document) -> Iterator[tuple[str, str, str]]:
    for scenario, part in scenario_parts(document):
        releases: list[str] = []
        for node in part.findall(docutils.nodes.paragraph):
            text = node.astext()
            if text.startswith("Version: "):
                releases = names_in(text.removeprefix("Version: "))
            elif text.startswith("Saves"):
                place = text.partition(" metadata to ")[2] or "none"
                yield from ((scenario, release, place) for release in releases)


def agrees(cell: ReportCell, sentence: str) -> bool:
    for pattern, (outcome, after) in MEANINGS.items():
        if match := re.fullmatch(pattern, sentence):
            error = match.groups() or (None, cell.stage)
            return (
                cell.outcome == outcome
                and after in (None, cell.after_load)
                and error == (cell.error_type, cell.stage)
            )
    return False


def test_the_corrected_faq_agrees_with_every_observed_cell() -> None:
    everything = ["--releases", "all", "--scenario", FAQ_SCENARIOS, "--variant", "all"]
    text = CliRunner().invoke(main, ["bands", "--faq", "--scenario", FAQ_SCENARIOS]).output
    output = CliRunner().invoke(main, ["report", "--json", *everything]).output
    report = ReportFile.model_validate_json(output).report()
    document = publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
    lines = list(said(document))
    sentences = dict(lines)
    cells = [cell for cell in report.cells if not cell.rewritten]
    assert len(lines) == len(sentences) == len(cells) == 5904
    for cell in cells:
        place = cell.scenario, cell.variant, cell.saved_by, cell.loaded_by
        assert agrees(cell, sentences[place]), (cell.id, sentences[place])
    observed = {(row.scenario, row.release, row.observed) for row in report.saves}
    assert set(saves(document)) == observed


def test_the_corrected_faq_says_what_was_not_observed() -> None:
    output = CliRunner().invoke(main, ["bands", "--faq", "--lane", "cpu", "--size", "faq"]).output
    assert "1.0-2.20.2: not observed" in output
    assert "* Saves: not observed" in output
