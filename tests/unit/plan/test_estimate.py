"""Rule: a plan says what a run would measure, and nothing that is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.builders import a_load, a_save
from matrix.catalogue.words import Lane
from matrix.cli import main
from matrix.errors import EngineError
from matrix.plan.cells import CONTROLS, Plan
from matrix.plan.costs import LOAD, SAVE, START
from matrix.plan.estimate import Estimate, estimate, graph
from matrix.plan.evidence_index import EvidenceIndex, pairs
from matrix.store import recorded
from matrix.store.store import Store
from matrix.workflow import containers

MakePlan = Callable[..., Plan]
NAMES = ["1.7", "1.11", "2.3"]


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(NAMES, NAMES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.prepare()
    return made


def estimated(plan: Plan, store: Store | None) -> Estimate:
    return estimate(EvidenceIndex(plan, store, None), None, 0)


def fill(plan: Plan, store: Store) -> None:
    for cell in pairs(plan):
        save = a_save(plan, cell.saved_by)
        store.add(save)
        store.add(a_load(plan, save, cell.loaded_by, cell.variant))


def test_with_nothing_known_all_is_to_be_done(plan: Plan) -> None:
    found = estimated(plan, None)
    loads = len(pairs(plan))
    assert (found.known, found.recorded, found.cells, found.shared) == (0, 0, 9, 0)
    assert len(found.nodes) == 3 + loads
    assert found.seconds == pytest.approx(3 * (START + SAVE) + loads * LOAD)
    assert not found.timed


def test_what_is_known_costs_nothing(plan: Plan, store: Store) -> None:
    fill(plan, store)
    found = estimated(plan, store)
    assert (found.known, found.cells, found.nodes, found.seconds) == (9, 0, (), 0)
    assert found.disk == 0


def test_a_new_release_costs_its_row_and_column(
    plan: Plan, store: Store, make_plan: MakePlan
) -> None:
    fill(plan, store)
    found = estimated(make_plan([*NAMES, "2.4"], [*NAMES, "2.4"]), store)
    saves = [node for node in found.nodes if node.does == "save"]
    assert [node.release for node in saves] == ["2.4"]
    # its load in the three old loaders; four loads of its own, and the controls that are no cell
    assert len(found.nodes) == 1 + 3 + 4 + len(CONTROLS) - 1
    assert (found.known, found.cells) == (9, 7)
    assert found.timed


def test_savers_of_the_same_state_are_loaded_once(plan: Plan, store: Store) -> None:
    for name in NAMES:
        same = a_save(plan, name).model_copy(update={"state_digest": "same"})
        store.add(same)
    found = estimated(plan, store)
    plain = [node for node in found.nodes if "/plain/" in node.id]
    assert [node.release for node in plain] == NAMES
    assert found.shared == 6


def test_no_number_of_jobs_is_faster_than_one_release(plan: Plan) -> None:
    found = estimated(plan, None)
    assert found.on(1) == found.seconds
    assert found.on(1000) == found.longest


def test_every_node_needs_a_save_that_is_in_the_graph(plan: Plan) -> None:
    index = EvidenceIndex(plan, None, recorded.evidence(Lane.CPU))
    nodes = graph(estimate(index, None, 0), index)["nodes"]
    saves = {node["id"] for node in nodes if node["does"] == "save"}
    assert len(saves) == 3
    loads = [node for node in nodes if node["does"] == "load"]
    assert loads
    assert {node["needs"] for node in loads} <= saves


def test_the_command_writes_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    options = ["--releases", "1.7,2.3", "--store", str(tmp_path / "none"), "--graph", str(path)]
    done = CliRunner().invoke(main, ["plan", *options])
    assert done.exit_code == 0, done.output
    # both ways between two releases, and what 1.7 saved once more, remapped
    assert "lane cpu, runner local: 6 cells to run in 2 saves and" in done.output
    assert "jobs, sources fetched; " in done.output
    written = json.loads(path.read_text())
    assert written["releases"] == ["1.7", "2.3"]
    assert {node["does"] for node in written["nodes"]} == {"save", "load"}


def test_a_graph_that_cannot_be_written(tmp_path: Path) -> None:
    options = ["--store", str(tmp_path / "none"), "--graph", str(tmp_path / "no" / "graph.json")]
    done = CliRunner().invoke(main, ["plan", *options])
    assert done.exit_code == 4
    assert "cannot be written" in done.output


def test_a_lane_that_was_never_timed_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_answers() -> None:
        raise EngineError("no engine")

    monkeypatch.setattr(containers, "connect", nothing_answers)
    options = ["--runner", "docker", "--releases", "1.11", "--store", str(tmp_path / "none")]
    done = CliRunner().invoke(main, ["plan", *options])
    assert "images to build: 1 (no engine answers" in done.output
    assert "the time is a guess" in done.output
