"""Rule: of a file that is like a save of the matrix, ``inspect`` names the way of the table."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from helpers.agreement import UNSURE, plain, save_of, untold
from helpers.builders import TODAY, recorded_bytes
from matrix import report
from matrix.catalogue import releases, scenarios
from matrix.catalogue import ways as catalogued
from matrix.catalogue.scenarios import SizedScenario, class_of
from matrix.catalogue.selection import Selection
from matrix.catalogue.words import Lane
from matrix.checkpoint import layout
from matrix.doctor import Assumed, Prediction, inspect
from matrix.doctor.predictions import Predictor
from matrix.doctor.sightings import history_of
from matrix.report import ways
from matrix.report.ways import Pair
from matrix.store import recorded
from matrix.workflow.selecting import Request, select

LOADERS = ("1.0", "1.5", "1.7", "1.11", "1.14", "2.2", "2.8", "2.17.1")
PLAIN = {name: sized for name, sized in scenarios.load().items() if plain(sized)}


def a_saver(scenario: str) -> str | None:
    """A release whose checkpoint is recorded and tells its model; another for each scenario."""
    names = [
        name
        for name in releases.load().names()
        if (save := save_of(scenario, name))
        and save.file_digest
        and recorded.has_checkpoint(Lane.CPU, save.file_digest)
        and not untold(PLAIN[scenario], save, "under another name")
    ]
    return names[zlib.crc32(scenario.encode()) % len(names)] if names else None


def table(scenario: str, saver: str) -> dict[str, Pair]:
    names = {scenario, catalogued.own_recipe().instead.get(scenario, scenario)}
    chosen = Selection(
        saved_by=saver, loaded_by=",".join(LOADERS), scenario=",".join(names), variant="all"
    )
    selected = select(Request(chosen))
    made = report.build(selected.judge(TODAY), selected.documentation)
    pairs = ways.of_pairs(made.cells).items()
    return {loader: pair for (name, _a, loader), pair in pairs if name == scenario}


def predictions(sized: SizedScenario, saver: str, folder: Path) -> tuple[Prediction, ...]:
    """What is said of a recorded checkpoint whose saver is known, under its scenario's recipe."""
    save = save_of(sized.name, saver)
    assert save and save.file_digest
    data = recorded.checkpoint(Lane.CPU, save.file_digest)
    assert data is not None
    file = folder / "model.pt"
    file.write_bytes(data)
    saved, loads = (class_of(r) for r in (sized.scenario.save_recipe, sized.scenario.load_recipe))
    assumed = Assumed(loads if loads != saved else None, history_of(sized.scenario.load_recipe))
    known = releases.load()
    predictor = Predictor(layout.find(file).read(), [known[saver]], None, assumed)
    return predictor.all([known[name] for name in LOADERS])


@pytest.mark.parametrize("scenario", PLAIN)
def test_the_way_is_that_of_the_table(scenario: str, tmp_path: Path) -> None:
    saver = a_saver(scenario)
    if saver is None:
        pytest.skip("no checkpoint of it is recorded")
    sized, pairs = PLAIN[scenario], table(scenario, saver)
    compared = 0
    for found in predictions(sized, saver, tmp_path):
        pair = pairs.get(found.release)
        if pair is None or found.status in UNSURE:
            continue
        across, where = pair.across, f"{scenario}: {saver} -> {found.release}"
        if across is not None and across.own_recipe:
            # The length of the history is told; of another class of recipe nothing is.
            assert found.way in ("", across.name), where
        else:
            assert found.way == (across.name if across else ""), where
            assert found.drop == (across.drop if across else ()), where
        compared += 1
    assert compared or not any(pair.cells["plain"].held for pair in pairs.values())


def test_what_is_given_up_is_said(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(recorded_bytes("1.7", "fp8-weights"))
    (found,) = inspect(path, ["1.5"]).targets
    assert (found.way, found.drop) == ("rewrite", ("attention",))
    assert found.step == "Run te-matrix remap IN OUT --to 1.5 --drop-fp8-state attention"
    assert found.given_up == ("the FP8 metadata of attention, for which the loader has no place",)


@pytest.mark.parametrize(("target", "why"), [("2.17.1", "starts at defaults"), ("2.3", "no place")])
def test_attention_of_current_scaling_is_given_up(target: str, why: str, tmp_path: Path) -> None:
    """No release from 2.8 on loads what it saves of it; those before have none."""
    path = tmp_path / "model.pt"
    path.write_bytes(recorded_bytes("2.17.1", "mha.current-scaling.fp8-attention"))
    (found,) = inspect(path, [target]).targets
    assert (found.way, found.drop) == ("rewrite", ("attention",))
    assert any(why in clause for clause in found.given_up)
