"""A store as large as one likes: recorded evidence copied under releases that do not exist."""

from __future__ import annotations

import datetime
import hashlib
import random
from pathlib import Path

from helpers.builders import TODAY
from matrix.catalogue import faq, scenarios
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.judge import judge, ledger, outcomes
from matrix.judge.judgement import Judgement
from matrix.plan.cells import Plan, plan_cells
from matrix.plan.evidence_index import EvidenceIndex, pairs
from matrix.store import keys, recorded
from matrix.store.records import Load, Save
from matrix.store.store import Store


def a_plan(releases: int, names: tuple[str, ...] = ("autocast",)) -> Plan:
    """Plan every pair of that many releases, variant plain, in the scenarios named."""
    rows = [
        Release(
            version=f"{number // 10}.{number % 10}",
            digest=_digest(str(number)),
            wheel="0",
            sha256=_digest("w"),
        )
        for number in range(15, 15 + releases)
    ]
    recipes = {name: scenarios.load()[name] for name in names}
    variants = {"plain": scenarios.variants()["plain"]}
    return plan_cells(faq.load(), recipes, variants, rows, rows)


def fill(store: Store, made: Plan) -> None:
    """Store a record for every cell and control: each its own, with times of its own."""
    store.prepare()
    for record in records(made):
        store.add(record)


def records(made: Plan) -> list[Save | Load]:
    """Make a record for every cell and control of a synthetic plan, the same every time."""
    kept = recorded.evidence(Lane.CPU)
    assert kept is not None
    models = list(kept.records())
    chance = random.Random(0)
    saves = {r.scenario: r for r in models if isinstance(r, Save) and r.release == "2.15"}
    loads = [r for r in models if isinstance(r, Load) and r.variant == "plain" and r.saved_by > "1"]
    found: list[Save | Load] = []
    for scenario, recipe in made.scenarios.items():
        for release in made.releases.values():
            key = keys.save_key(release.digest, recipe.digest, made.lane)
            found.append(_save(saves[scenario], key, release))
    intact = {name: _intact(save, loads) for name, save in saves.items() if name in made.scenarios}
    controls = {r.variant: r for r in reversed(models) if isinstance(r, Load)}
    for cell in pairs(made):
        release, recipe = made.releases[cell.loaded_by], made.scenarios[cell.scenario]
        state = _digest(f"{cell.saved_by} {cell.scenario}")
        key = keys.load_key(release.digest, state, recipe.digest, cell.variant, made.lane)
        model = chance.choice(loads)
        if cell.variant == "control:again":
            model = intact[cell.scenario]
        elif cell.variant != "plain":
            model = controls[cell.variant]
        elif cell.saved_by == cell.loaded_by:
            model = intact[cell.scenario]
        when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        when += datetime.timedelta(seconds=chance.random() * 1e6)
        made_at = {"recorded_at": when.isoformat(), "seconds": round(chance.random(), 4)}
        found.append(
            model.model_copy(
                update={
                    "key": key,
                    "release": release.name,
                    "saved_by": cell.saved_by,
                    "state_digest": state,
                    "scenario": cell.scenario,
                    "variant": cell.variant,
                    "provenance": model.provenance.model_copy(update=made_at),
                }
            )
        )
    return found


def _save(model: Save, key: str, release: Release) -> Save:
    state = _digest(f"{release.name} {model.scenario}")
    return model.model_copy(update={"key": key, "release": release.name, "state_digest": state})


def _intact(save: Save, loads: list[Load]) -> Load:
    return next(load for load in loads if outcomes.result(save, load).outcome == "loaded")


def judged(store: Store, made: Plan) -> Judgement:
    """Judge a synthetic plan on its store alone."""
    return judge.judge(EvidenceIndex(made, store, None), faq.load(), ledger.load(), TODAY)


def a_judgement(folder: Path, releases: int, *names: str) -> Judgement:
    """Fill a store in ``folder`` and judge it."""
    made, store = a_plan(releases, names or ("autocast",)), Store(folder / "store")
    fill(store, made)
    return judged(store, made)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
