"""Rule: what is not the same under every PyTorch is listed by cell and fact, and nothing else."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.builders import a_load, a_save, tensor
from matrix.catalogue.words import Stage
from matrix.cli import main
from matrix.judge import pytorches
from matrix.plan.cells import Plan
from matrix.store.records import Attempt, Failure, Load, Moved, Save
from matrix.store.store import Store

MakePlan = Callable[..., Plan]
CELL = "autocast/plain/1.8->1.11"


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(["1.8", "1.9"], ["1.11"])


@pytest.fixture
def pinned(plan: Plan) -> list[Save | Load]:
    save = a_save(plan, "1.8")
    return [save, a_load(plan, save, "1.11")]


def under(torch: str, records: list[Any], **changes: Any) -> list[Any]:
    """The same records, made with another PyTorch; the loads with other observations."""
    made = []
    for record in records:
        provenance = record.provenance.model_copy(update={"torch": torch})
        update = changes if isinstance(record, Load) else {}
        made.append(record.model_copy(update={"provenance": provenance, **update}))
    return made


def differences(*records: Any) -> list[tuple[str, str, dict[str, str]]]:
    found = pytorches.compare(records).differences
    return [(one.where, one.what, one.seen) for one in found]


def test_the_same_under_two_is_compared_and_no_difference(pinned: list[Any]) -> None:
    found = pytorches.compare([*pinned, *under("2.4.1", pinned)])
    assert (found.compared, found.differences) == (2, ())
    assert [(one.torch, one.saves, one.cells, one.compared) for one in found.coverage] == [
        ("2.13.0", 1, 1, 2),
        ("2.4.1", 1, 1, 2),
    ]


MOVED = (Moved(path="core_attention", name="core_attention", moved={"forward.scale": False}),)


@pytest.mark.parametrize(
    ("changes", "what", "fact"),
    [
        ({"after_load": MOVED}, "after_load", "frozen"),
        ({"stage": Stage.LOAD_STATE_DICT, "error": Failure(type="E", message="m")}, "error", "E"),
        ({"stage": Stage.DESERIALIZE}, "stage", "deserialize"),
        ({"parts": ()}, "outcome", "none"),
        ({"missing_keys": ("a",)}, "missing keys", "a"),
    ],
)
def test_each_fact_of_a_cell_that_differs_is_named(
    pinned: list[Any], changes: dict[str, Any], what: str, fact: str
) -> None:
    found = differences(*pinned, *under("2.4.1", pinned, **changes))
    assert {where for where, _what, _seen in found} == {CELL}
    seen = {name: seen for _where, name, seen in found}
    assert seen[what]["2.4.1"] == fact
    assert seen[what]["2.13.0"] != fact
    assert pytorches.VALUES not in seen


def test_values_are_compared_where_all_else_is_equal(plan: Plan, pinned: list[Any]) -> None:
    part = pinned[1].parts[0]
    name, was = next(iter(part.tensors.items()))
    other = tensor("canary").model_copy(update={"first": (3.0,), "digest": was.digest})
    parts = (part.model_copy(update={"tensors": {name: other}}),)
    found = differences(*pinned, *under("2.4.1", pinned, parts=parts))
    assert [(where, what) for where, what, _seen in found] == [(CELL, pytorches.VALUES)]


def test_another_state_of_a_save_does_not_hide_its_cells(plan: Plan, pinned: list[Any]) -> None:
    """Loads are kept under the state that was saved; cells are compared by their releases."""
    save = under("2.4.1", [pinned[0].model_copy(update={"state_digest": "other"})])
    load = under("2.4.1", [pinned[1]], state_digest="other", missing_keys=("a",))
    found = differences(*pinned, *save, *load)
    assert ("autocast/1.8", pytorches.VALUES) in [found[0][:2]]
    assert (CELL, "missing keys") in [one[:2] for one in found]


def test_three_are_told_apart(pinned: list[Any]) -> None:
    odd = under("2.14.1", pinned, missing_keys=("a",))
    ((_where, what, seen),) = differences(*pinned, *under("2.4.1", pinned), *odd)
    assert (what, seen) == ("missing keys", {"2.13.0": "", "2.4.1": "", "2.14.1": "a"})


def test_two_observations_under_one_pytorch_are_both_shown(pinned: list[Any]) -> None:
    twice = [pinned[1].model_copy(update={"missing_keys": ("b",)})]
    ((_where, what, seen),) = differences(*pinned, *twice, *under("2.4.1", pinned))
    assert (what, seen["2.13.0"]) == ("missing keys", " or b")


def test_one_source_under_two_names_is_compared_under_both(make_plan: MakePlan) -> None:
    """Which of 2.14 and 2.14.1 is run for both depends on the order of a run."""
    plan = make_plan(["2.14", "2.14.1"], ["2.14", "2.14.1"])
    one, other = a_save(plan, "2.14"), a_save(plan, "2.14.1")
    records = [one, a_load(plan, one, "2.14"), *under("2.4.1", [other])]
    found = pytorches.compare([*records, *under("2.4.1", [a_load(plan, other, "2.14.1")])])
    assert [(cover.releases, cover.saves, cover.cells) for cover in found.coverage] == [
        (("2.14", "2.14.1"), 2, 4),
        (("2.14", "2.14.1"), 2, 4),
    ]
    assert {where for where, _what, _seen in differences(*records)} <= {
        "autocast/2.14",
        "autocast/2.14.1",
    }


def test_a_control_is_of_one_release_though_another_saved_the_same_state(plan: Plan) -> None:
    save = a_save(plan, "1.8")
    alike = a_save(plan, "1.9").model_copy(update={"state_digest": save.state_digest})
    records = [save, alike, a_load(plan, save, "1.11", "control:again")]
    same = {"state_digest": save.state_digest, "release": "1.9", "source_digest": "9"}
    records.append(a_load(plan, save, "1.11", "control:again").model_copy(update=same))
    found = pytorches.compare([*records, *under("2.4.1", records)])
    assert {(one.saves, one.cells) for one in found.coverage} == {(2, 1)}


def stored(folder: Path, records: list[Any]) -> Store:
    store = Store(folder)
    store.prepare()
    for record in records:
        store.add(record)
    return store


def te_matrix(*words: Any) -> Result:
    return CliRunner().invoke(main, ["pytorches", *(str(word) for word in words)])


def test_the_command(pinned: list[Any], tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("pinned", "old", "odd")]
    stored(places[0], pinned)
    old = stored(places[1], under("2.4.1", pinned))
    why = "release 2.10 cannot be imported: ImportError: gone."
    for key in ("a", "b"):
        old.add_attempt(Attempt(key=key, kind="infra", message=why, lacking="2.10", at="1"))
    stored(places[2], under("2.14.1", pinned, missing_keys=("a",)))
    same = te_matrix(*places[:2])
    assert same.exit_code == 0, same.output
    assert same.output.count(why) == 1
    assert same.output.endswith("saves and cells: 2 compared, 0 different\n")
    other = te_matrix(*places)
    assert other.exit_code == 1
    assert f"{CELL}: missing keys\n" in other.output
    listed = json.loads(te_matrix(*places, "--json").output)
    assert listed["differences"][0]["seen"]["2.14.1"] == "a"
    assert listed["lacking"][str(places[1])] == [why]


def test_one_pytorch_alone_is_no_comparison(pinned: list[Any], tmp_path: Path) -> None:
    stored(tmp_path / "one", pinned)
    said = te_matrix(tmp_path / "one")
    assert said.exit_code == 2
    assert "only: 2.13.0" in said.output
    assert te_matrix(tmp_path / "nowhere").exit_code == 2


def test_the_pytorch_that_evidence_is_recorded_with_is_among_those_compared() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    (pinned,) = project["project"]["optional-dependencies"]["torch"]
    versions = project["tool"]["te-matrix"]["pytorches"]
    assert pinned.removeprefix("torch==") in versions
    assert len(versions) > 2
