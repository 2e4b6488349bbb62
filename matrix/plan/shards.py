"""Shards: a plan's work split over jobs that know nothing of each other.

Each job is given its number and how many there are, and finds the same split: releases and
scenarios are dealt out by what they cost, the most expensive first, each to the shard that
has the least so far. A shard makes the saves that its own loads need, so that one stage of
jobs is enough; the same save made twice is the same object once the stores are merged.
What a finished shard leaves in its store says which part of which plan it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence

from matrix.errors import StoreError, UsageError
from matrix.plan.cells import Plan
from matrix.plan.costs import START, Costs
from matrix.plan.evidence_index import pairs
from matrix.plan.remaining import Scope
from matrix.store.records import Manifest

Unit = tuple[str, str]
"""A release and a scenario: what is never split, as it shares a process and a model."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One part of a plan.

    :param units: the loaders, by scenario, whose loads it does, and in the save phase the
        savers whose saves it does.
    :param needs: savers, by scenario, whose checkpoints those loads need.
    """

    manifest: Manifest
    units: frozenset[Unit]
    needs: frozenset[Unit]

    def scope(self, phase: str | None) -> Scope:
        """Return what a run of this shard does, in one phase or in both at once."""
        saving = self.units if phase == "save" else self.needs
        return Scope(
            saves=phase != "cross-load",
            loads=phase != "save",
            saves_with=lambda release, scenario: (release.name, scenario) in saving,
            loads_with=lambda release, scenario: (release.name, scenario) in self.units,
        )


def parse(text: str) -> tuple[int, int]:
    """Read ``3/8``.

    :raises UsageError: it is something else, or there is no such shard.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {text} is no shard", do="Write it like 3/8: the third of eight")
    return number, count


def split(plan: Plan, costs: Costs, number: int, count: int, phase: str | None = None) -> Shard:
    """Return one shard of a plan.

    :param costs: what decides the split; jobs whose stores hold the same find the same.
    :raises UsageError: there are more shards than can have work.
    """
    weights, savers, cells = _weights(plan, costs, phase)
    if count > len(weights):
        raise UsageError(
            f"the selection cannot be split in {count}",
            why=f"it has {len(weights)} pairs of release and scenario, which are never split",
            do=f"Ask for at most {len(weights)} shards",
        )
    parts = _partition(weights, count)
    mine = frozenset(parts[number - 1])
    needs = frozenset(saver for unit in mine for saver in savers[unit])
    digest = _digest(plan, parts, phase)
    own = sum(cells[unit] for unit in mine)
    return Shard(Manifest(shard=number, of=count, split=digest, cells=own), mine, needs)


def _weights(
    plan: Plan, costs: Costs, phase: str | None
) -> tuple[dict[Unit, float], dict[Unit, set[Unit]], dict[Unit, int]]:
    """Return what each unit costs, whose checkpoints it loads, and how many of its loads count."""
    weights: dict[Unit, float] = {}
    savers: dict[Unit, set[Unit]] = defaultdict(set)
    cells: dict[Unit, int] = defaultdict(int)
    if phase == "save":
        for scenario in plan.scenarios:
            for release in plan.releases.values():
                weights[release.name, scenario] = START + costs.save(scenario, release)
        return weights, savers, cells
    for cell in pairs(plan):
        unit = cell.loaded_by, cell.scenario
        weights[unit] = weights.get(unit, START) + costs.load(cell)
        savers[unit].add((cell.saved_by, cell.scenario))
        cells[unit] += 1
    return weights, savers, cells


def _partition(weights: dict[Unit, float], count: int) -> list[list[Unit]]:
    parts: list[list[Unit]] = [[] for _ in range(count)]
    totals = [0.0] * count
    for unit in sorted(weights, key=lambda unit: (-weights[unit], unit)):
        least = totals.index(min(totals))
        parts[least].append(unit)
        totals[least] += weights[unit]
    return parts


def _digest(plan: Plan, parts: Sequence[Sequence[Unit]], phase: str | None) -> str:
    releases = {name: release.digest for name, release in plan.releases.items()}
    scenarios = {name: sized.digest for name, sized in plan.scenarios.items()}
    cells = sorted(cell.id for cell in plan.cells)
    whole = [
        plan.lane,
        plan.runner,
        releases,
        scenarios,
        cells,
        phase,
        [list(part) for part in parts],
    ]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def check(found: Sequence[tuple[str, Sequence[Manifest]]]) -> None:
    """See that stores to be merged are all shards of one split, each once; or none is a shard.

    :param found: the name of each store, and the manifests in it.
    :raises StoreError: a shard is missing, is there twice, or belongs to something else.
    """
    owner: dict[int, str] = {}
    first = next(((name, held[0]) for name, held in found if held), None)
    if first is None:
        return
    head, model = first
    for name, held in found:
        if not held:
            raise StoreError(
                f"{name} is no finished shard, and {head} is shard {model.name}",
                why="its run was interrupted, or it was not run with --shard",
                do="Run that shard again, or merge it afterwards on its own",
            )
        for manifest in held:
            if (manifest.split, manifest.of) != (model.split, model.of):
                raise StoreError(
                    f"{name} is shard {manifest.name} of another split than {head}",
                    why="the selection, the phase or the past durations in its store differed",
                    do="Run all shards with the same options, on stores that hold the same",
                )
            if manifest.shard in owner:
                raise StoreError(
                    f"shard {manifest.name} is there twice: {owner[manifest.shard]} and {name}",
                    do="Leave out one of them",
                )
            owner[manifest.shard] = name
    if missing := sorted({*range(1, model.of + 1)} - owner.keys()):
        names = ", ".join(f"{number}/{model.of}" for number in missing)
        raise StoreError(
            f"missing: shard {names}",
            why=f"{len(owner)} of {model.of} shards were given",
            do="Run what is missing with the same options, and merge all of them together",
        )
