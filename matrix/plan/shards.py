"""Shards: the division of a plan into parts of about equal cost, for independent jobs.

Each job is given its number and the number of jobs, and computes the same division: units of
release and scenario are assigned by expected cost, the most expensive first, each to the
shard with the least cost so far. A shard makes the saves that its loads need, so that one
stage of jobs suffices; a save that several shards make is one object in the merged store.
A finished shard leaves a manifest in its store.
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
from matrix.system.counting import counted

Unit = tuple[str, str]
"""Name of a release and of a scenario: never divided, as its loads share process and model."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One part of a plan."""

    manifest: Manifest
    """The note that the finished shard leaves in its store."""
    units: frozenset[Unit]
    """Loaders whose loads it does; in the phase ``save``, savers whose saves it does."""
    needs: frozenset[Unit]
    """Savers whose checkpoints those loads need."""

    def scope(self, phase: str | None) -> Scope:
        """Return the part of the plan that a run of this shard does.

        :param phase: ``save``, ``cross-load``, or None for both.
        """
        saving = self.units if phase == "save" else self.needs
        return Scope(
            saves=phase != "cross-load",
            loads=phase != "save",
            saves_with=lambda release, scenario: (release.name, scenario) in saving,
            loads_with=lambda release, scenario: (release.name, scenario) in self.units,
        )


def parse(text: str) -> tuple[int, int]:
    """Return number and count of a shard from text such as ``3/8``.

    :raises UsageError: the text has another form, or the number is not between 1 and the count.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {text} is no shard", do="Write it like 3/8: the third of eight")
    return number, count


def split(plan: Plan, costs: Costs, number: int, count: int, phase: str | None = None) -> Shard:
    """Return one shard of a plan.

    :param costs: expected costs; they must be the same in all jobs, as they decide the division.
    :param number: number of the shard, from 1.
    :param count: number of shards.
    :param phase: ``save``, ``cross-load``, or None for both.
    :raises UsageError: there are more shards than units.
    """
    weights, savers, cells = _weights(plan, costs, phase)
    if count > len(weights):
        raise UsageError(
            f"the selection cannot be split in {count}",
            why=f"pairs of release and scenario are never split, and it has {len(weights)}",
            do=f"Ask for at most {counted(len(weights), 'shard')}",
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
    """Return the cost of each unit, the savers that it needs, and its number of loads."""
    weights: dict[Unit, float] = {}
    savers: dict[Unit, set[Unit]] = defaultdict(set)
    cells: dict[Unit, int] = defaultdict(int)
    if phase == "save":
        for scenario in plan.scenarios:
            for release in plan.saves(scenario):
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
        plan.lane_key,
        plan.runner,
        releases,
        scenarios,
        cells,
        phase,
        [list(part) for part in parts],
    ]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def check(found: Sequence[tuple[str, Sequence[Manifest]]]) -> None:
    """Check that stores to merge are all shards of one division, each once, or none is a shard.

    :param found: the name of each store, and the manifests in it.
    :raises StoreError: a shard is missing, is there twice, or belongs to another division.
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
            why=f"of {counted(model.of, 'shard')}, {len(owner)} were given",
            do="Run what is missing with the same options, and merge all of them together",
        )
