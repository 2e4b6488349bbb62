"""Rule: of what a release saved, ``inspect`` says what was recorded of every load of it."""

from __future__ import annotations

import zlib
from collections import Counter

import pytest

from helpers.agreement import Agreement, agreement, plain, save_of
from matrix.catalogue import features, releases, scenarios
from matrix.catalogue.words import Lane
from matrix.checkpoint import kinds
from matrix.doctor import describing, likes
from matrix.doctor.likes import RecordedStates
from matrix.store import recorded

PLAIN = [name for name, sized in scenarios.load().items() if plain(sized)]
ALLOWED = {"no states", "no recipe", "saver", "module"}
"""Why a cell may be untold: see ``agreement._why``."""


def recorded_savers(scenario: str) -> list[str]:
    """The releases of which the checkpoint of a scenario is recorded."""
    saves = ((name, save_of(scenario, name)) for name in releases.load().names())
    return [
        name
        for name, save in saves
        if save and save.file_digest and recorded.has_checkpoint(Lane.CPU, save.file_digest)
    ]


def some(names: list[str], seed: str) -> list[str]:
    """Two of the names, other ones for each seed."""
    start = zlib.crc32(seed.encode())
    return sorted({names[(start + step) % len(names)] for step in (0, len(names) // 2)})


def check(found: Agreement) -> None:
    assert found.wrong == []
    assert found.savers == []
    assert found.unsure.keys() <= ALLOWED
    assert found.agreed or found.unsure["no states"]


@pytest.mark.parametrize("scenario", PLAIN)
def test_some_savers_of_every_scenario(scenario: str) -> None:
    names = some(recorded_savers(scenario), scenario) if recorded_savers(scenario) else []
    saves = [save for name in names if (save := save_of(scenario, name))]
    found = agreement(saves, lambda digest: recorded.checkpoint(Lane.CPU, digest))
    if saves:
        check(found)


def test_the_kinds_of_states_are_those_of_the_recorded_checkpoints() -> None:
    """What is listed beside the evidence is what the checkpoints hold, as far as they are there."""
    listed = likes.load(Lane.CPU)
    compared: Counter[bool] = Counter()
    for scenario in ("linear", "attention-renamed", "layernorm.no-state", "mha.mxfp8"):
        saves = [save for name in recorded_savers(scenario) if (save := save_of(scenario, name))]
        found = describing.describe(saves, lambda digest: recorded.checkpoint(Lane.CPU, digest))
        for row in found.saves:
            same = next((other for other in listed.saves if _covers(other, row)), None)
            if same is None and row.variant:
                continue  # other scenarios, which are not read here, have saves of its kinds
            assert same is not None
            compared[bool(row.variant)] += 1
            assert same.traits == row.traits
            assert {key: listed.kinds[number] for key, number in same.states.items()} == {
                key: found.kinds[number] for key, number in row.states.items()
            }
    assert compared[False] and compared[True]


def _covers(listed: RecordedStates, row: RecordedStates) -> bool:
    same = listed.scenario == row.scenario and listed.variant == row.variant
    return same and listed.loaders == row.loaders and set(row.savers) <= set(listed.savers)


def test_the_modules_that_are_told_apart_are_known() -> None:
    names = [row.module for row in kinds.modules()]
    assert set(names) <= features.load().modules.keys() and len(set(names)) == len(names)


def test_every_recorded_save_is_listed() -> None:
    listed = {(row.scenario, saver) for row in likes.load(Lane.CPU).saves for saver in row.savers}
    for scenario in PLAIN:
        for release in releases.load().names():
            save = save_of(scenario, release)
            assert ((scenario, release) in listed) == bool(save and save.file_digest)
