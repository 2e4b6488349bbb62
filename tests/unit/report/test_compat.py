"""Rule: the file for other programs says what the evidence says, and its reader needs nothing."""

from __future__ import annotations

import ast
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from helpers.builders import TODAY, a_cell, a_report
from matrix import report
from matrix.catalogue import faq, releases
from matrix.catalogue.selection import Selection
from matrix.catalogue.words import Stage
from matrix.cli import main
from matrix.doctor import symptoms
from matrix.judge.judgement import Judgement
from matrix.report import compat, compat_reader
from matrix.report.compat_reader import Compat
from matrix.report.document import Report
from matrix.workflow.selecting import Request, select

CHOSEN = "1.0,1.5,1.7,1.11,1.14,2.1,2.4,2.9,2.16.1,2.17,2.20.2"


@pytest.fixture(scope="module")
def judgement() -> Judgement:
    """That of some releases, in all scenarios and variants, from the recorded evidence."""
    chosen = Selection(releases=CHOSEN, scenario="all", variant="all")
    return select(Request(chosen)).judge(TODAY)


@pytest.fixture(scope="module")
def observed(judgement: Judgement) -> Report:
    return report.build(judgement, faq.load())


@pytest.fixture(scope="module")
def known(
    judgement: Judgement, observed: Report, tmp_path_factory: pytest.TempPathFactory
) -> Compat:
    path = tmp_path_factory.mktemp("compat") / "compat.json"
    path.write_text(compat.text(observed, releases.load(), compat.unlisted(judgement)))
    return Compat(str(path))


def test_it_agrees_with_every_plain_load(observed: Report, known: Compat) -> None:
    words = {"error": {"fails"}, "partial": {"changed"}, "loaded": {"loads", "frozen", "resets"}}
    words |= {"defaults": {"resets", "loads", "frozen"}, "none": {"loads", "frozen", "resets"}}
    plain = {cell.id: cell for cell in observed.cells if cell.variant == "plain"}
    for cell in plain.values():
        ((_kind, answer),) = known.find(cell.saved_by, cell.loaded_by, scenario=cell.scenario)
        # Where the loader lacks the recipe, what is held was not seen to arrive.
        unseen = {"unknown"} if cell.held and cell.stage == Stage.LOAD_STATE_DICT else set()
        assert answer["status"] in words[cell.outcome.value] | unseen, cell.id
        assert answer.get("error", "") == (cell.error_type or ""), cell.id
        frozen = "frozen" in (cell.after_load.value, cell.rest_after_load.value)
        assert not (frozen and answer["status"] == "loads"), cell.id
    for pair in itertools.product(known.data["releases"], repeat=2):
        for kind, answer in known.find(*pair):
            there = f"{kind['scenario']}/plain/{pair[0]}->{pair[1]}" in plain
            assert there == (answer is not compat_reader.NO_CELL)


def test_every_error_has_its_cause(judgement: Judgement, known: Compat) -> None:
    """Except for those whose text does not show that they are Transformer Engine's."""
    plain = {v.cell: v for v in judgement.verdicts if v.error and v.cell.variant == "plain"}
    silent = set()
    for cell, verdict in plain.items():
        ((_kind, answer),) = known.find(cell.saved_by, cell.loaded_by, scenario=cell.scenario)
        if answer["status"] != "fails":
            continue
        if "cause" not in answer:
            silent.add(cell.scenario)
        elif not verdict.entries:
            (row,) = symptoms.rows_of(verdict.error)
            assert (answer["cause"], answer["advice"]) == (row.cause, row.advice), cell.id
    assert silent <= {"weights-only", "linear.fp8-weights.block-scaling"}


def test_what_helps_was_seen_to_help(observed: Report, known: Compat) -> None:
    well = {
        cell.id
        for cell in observed.cells
        if cell.outcome.value in ("loaded", "defaults", "none")
        and "frozen" not in (cell.after_load.value, cell.rest_after_load.value)
    }
    helped = 0
    for pair in itertools.product(known.data["releases"], repeat=2):
        for kind, answer in known.find(*pair):
            place, end = kind["scenario"], f"{pair[0]}->{pair[1]}"
            if answer.get("opt_in"):
                assert f"{place}/trusted/{end}" in well
                helped += 1
            if answer.get("rewrite"):
                rewrites = [one for one in well if re.match(rf"{place}/rewrite:[^/]*/{end}$", one)]
                assert rewrites
                helped += 1
    assert helped > 100


def test_versions_are_found_as_packages_have_them(known: Compat) -> None:
    found = [known.release(one) for one in ("2.4.0", "2.4.0+cu12", "2.16.1", "1.11.0.post1")]
    assert found == ["2.4", "2.4", "2.16.1", "1.11"]
    assert known.release("3.0") is None
    with pytest.raises(KeyError, match=r"nothing is known of Transformer Engine 3\.0"):
        list(known.find("3.0", "2.4"))


def test_kinds_are_asked_for_by_module_and_recipe(known: Compat) -> None:
    found = [kind for kind, _answer in known.find("1.7", "2.4", "TransformerLayer", "")]
    assert [kind["scenario"] for kind in found] == ["transformer-layer.no-state"]
    assert {kind["module"] for kind, _a in known.find("1.7", "2.4", recipe="DelayedScaling")} > {
        "Linear"
    }


STATUSES: list[tuple[str, dict[str, Any], str]] = [
    ("loaded", {}, "loads"),
    ("loaded", {"after_load": "frozen"}, "frozen"),
    ("loaded", {"rest_after_load": "frozen"}, "frozen"),
    ("loaded", {"rest": "defaults", "held": ("qkv",)}, "resets"),
    ("loaded", {"weights": "changed"}, "changed"),
    ("partial", {}, "changed"),
    ("defaults", {"held": ("core_attention",)}, "resets"),
    ("defaults", {}, "loads"),
    ("none", {}, "loads"),
    ("error", {}, "fails"),
    ("not-run", {"verdict": "not-run"}, "unknown"),
]


@pytest.mark.parametrize(("outcome", "fields", "status"), STATUSES)
def test_an_outcome_is_a_status(
    outcome: str, fields: dict[str, Any], status: str, tmp_path: Path
) -> None:
    path = tmp_path / "compat.json"
    path.write_text(
        compat.text(a_report(a_cell("2.3", "2.4", outcome, **fields)), releases.load(), {})
    )
    ((_kind, answer),) = Compat(str(path)).find("2.3", "2.4")
    assert answer["status"] == status


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({}, "is not a file of te-checkpoint-compat"),
        ([], "is not a file of te-checkpoint-compat"),
        ({"schema": "te-checkpoint-compat", "version": 99}, "has format 99"),
    ],
)
def test_another_file_is_refused(data: Any, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=complaint):
        Compat(str(path))


def test_the_reader_stands_alone() -> None:
    """It is copied into other programs: the standard library, and Python 3.8, are all it has."""
    path = Path(compat_reader.__file__)
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)


def test_the_command_writes_all_of_it_in_little_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["export", "--compat", "compat.json"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "compat.json").stat().st_size < 300_000
    found = Compat(str(tmp_path / "compat.json"))
    assert found.data["releases"] == releases.load().names()
    shown = CliRunner().invoke(main, ["export", "--compat", "-"])
    assert shown.stdout == Path("compat.json").read_text(encoding="utf-8")
    refused = CliRunner().invoke(main, ["export", "--compat", "nosuch/compat.json"])
    assert refused.exit_code == 4
    assert "cannot be written" in refused.output
