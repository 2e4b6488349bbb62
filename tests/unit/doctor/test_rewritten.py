"""Rule: of a file that ``remap`` wrote, ``inspect`` says what a variant showed of its like."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from helpers.agreement import evidence, expected, plain, save_of
from matrix.catalogue import releases, scenarios
from matrix.catalogue.scenarios import class_of
from matrix.catalogue.words import Lane
from matrix.checkpoint import layout
from matrix.doctor import Assumed, LoadStatus, describing, inspect, writers
from matrix.doctor.predictions import Predictor
from matrix.doctor.sightings import history_of
from matrix.lane import checkpoint_files
from matrix.store import recorded
from matrix.store.records import Save

PLAIN = [name for name, sized in scenarios.load().items() if plain(sized)]
UNTOLD = (
    "it holds no extra states",
    "this release lacks the recipe",
    "as DotProductAttention",
    "saved by",
)
"""How the reasons begin for which a load that went well may not be told, see ``agreement._why``."""
VARIANTS = [v for v in scenarios.variants().values() if describing.is_like_a_user(v)]


def a_saver(scenario: str) -> Save | None:
    """One of the saves of which the checkpoint is recorded, another one for each scenario."""
    saves = (save_of(scenario, name) for name in releases.load().names())
    found = [
        save
        for save in saves
        if save and save.file_digest and recorded.has_checkpoint(Lane.CPU, save.file_digest)
    ]
    return found[zlib.crc32(scenario.encode()) % len(found)] if found else None


@pytest.mark.parametrize("scenario", PLAIN)
def test_what_loads_in_a_variant_is_known_to_load(scenario: str, tmp_path: Path) -> None:
    save = a_saver(scenario)
    if save is None:
        return
    sized, saver = scenarios.load()[scenario], releases.load()[save.release]
    path = tmp_path / "saved.pt"
    path.write_bytes(recorded.checkpoint(Lane.CPU, str(save.file_digest)) or b"")
    recipe = sized.scenario.load_recipe
    assumed = Assumed(class_of(recipe) if sized.scenario.uses_recipe else None, history_of(recipe))
    wrong = []
    for variant in VARIANTS:
        predictors: dict[Path, Predictor] = {}
        for loader in releases.load().releases:
            if not (variant.covers(saver, loader) and variant.applies_to(sized, loader)):
                continue
            known = evidence().load(scenario, variant.name, save, loader)
            if not known or expected(sized, save, known.records[0]) != LoadStatus.LOADS:
                continue
            file = checkpoint_files.rewritten(path, variant, save.release, loader)
            if file not in predictors:
                contents = layout.find(file).read()
                wrote = writers.find(contents, releases.load(), None).releases
                predictors[file] = Predictor(contents, wrote, None, assumed)
            (found,) = predictors[file].all([loader])
            if not (
                found.status == LoadStatus.LOADS
                or found.variant == "trusted"
                or found.detail.startswith(UNTOLD)
            ):
                wrong.append(f"{variant.name}, {saver.name} -> {loader.name}: {found}")
    assert wrong == []


@pytest.mark.parametrize("target", ["1.4", "1.7"])
def test_byte_tensors_for_releases_that_write_none(target: str, tmp_path: Path) -> None:
    save = save_of("linear", "2.0")
    assert save is not None
    path = tmp_path / "saved.pt"
    path.write_bytes(recorded.checkpoint(Lane.CPU, str(save.file_digest)) or b"")
    loader = releases.load()[target]
    (variant,) = (
        v
        for v in VARIANTS
        if v.weights is None
        and v.covers(releases.load()["2.0"], loader)
        and v.applies_to(scenarios.load()["linear"], loader)
    )
    file = checkpoint_files.rewritten(path, variant, "2.0", loader)
    (found,) = inspect(file, [target]).targets
    assert found.status == LoadStatus.LOADS and found.seen_in
