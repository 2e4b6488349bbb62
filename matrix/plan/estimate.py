"""What a plan is going to cost, before any of it is run; and its graph."""

from __future__ import annotations

import dataclasses
from typing import Any

from matrix.catalogue.words import Basis
from matrix.plan.cells import Cell
from matrix.plan.costs import RECORD, START, Costs
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import Remaining, Scope, one_per_state
from matrix.system.collector import gc_paused

NGC_IMAGE = 20_000_000_000
"""Bytes of an image built on NVIDIA's PyTorch container, about, its base included."""
OTHER_IMAGE = 10_000_000_000
"""Bytes of an image built on CUDA and pip, or on the cpu lane's packages, at most about."""


@dataclasses.dataclass(frozen=True)
class Node:
    """One save or load that is to be done.

    :param needs: the save that it loads, where that is to be done, too.
    :param seconds: about how long it takes.
    """

    id: str
    does: str
    release: str
    scenario: str
    needs: str | None
    seconds: float

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is to be done, and what it takes.

    :param known: cells of the plan whose answer is in the store.
    :param recorded: cells whose answer is recorded; a run with their source measures them.
    :param cells: cells of the plan that a run has to measure, recorded ones included.
    :param shared: loads that need not be done, as another saver wrote the very same state.
    :param images: releases whose container image has to be built; None outside containers.
    :param seconds: of one process that does all one after another.
    :param longest: of the release that takes longest; no number of jobs does it faster.
    :param disk: bytes that the store grows by, and images take.
    :param timed: whether anything was ever timed in this lane; if not, times are guesses.
    """

    known: int
    recorded: int
    cells: int
    shared: int
    nodes: tuple[Node, ...]
    images: tuple[str, ...] | None
    seconds: float
    longest: float
    disk: int
    timed: bool

    def on(self, jobs: int) -> float:
        """Return the seconds that so many jobs take, at best."""
        return max(self.seconds / jobs, self.longest)


@gc_paused()
def estimate(index: EvidenceIndex, images: tuple[str, ...] | None, image_bytes: int) -> Estimate:
    """Say what bringing a store up to date with a plan costs.

    :param index: the plan, and what is known of it.
    :param images: releases whose image has to be built.
    :param image_bytes: what those take together.
    """
    costs, todo = Costs(index), Remaining(index, Scope())
    saves = [_save_node(costs, scenario, release) for scenario, release in todo.saves()]
    saving = {(node.scenario, node.release): node for node in saves}
    cells = [
        cell for loads in todo.loads({node.release for node in saves}).values() for cell in loads
    ]
    loads = [_load_node(costs, cell, saving) for cell in one_per_state(index, cells)]
    nodes = (*saves, *loads)
    by_release: dict[str, float] = {}
    for node in nodes:
        by_release[node.release] = by_release.get(node.release, START) + node.seconds
    states = [state(index, cell) for cell in index.plan.cells]
    disk = RECORD * len(nodes) + image_bytes
    disk += sum(costs.checkpoint(n.scenario, index.plan.releases[n.release]) for n in saves)
    return Estimate(
        known=states.count(Basis.LIVE),
        recorded=states.count(Basis.RECORDED),
        cells=len(states) - states.count(Basis.LIVE),
        shared=len(cells) - len(loads),
        nodes=nodes,
        images=images,
        seconds=sum(by_release.values()),
        longest=max(by_release.values(), default=0.0),
        disk=disk,
        timed=costs.timed,
    )


def _save_node(costs: Costs, scenario: str, release: Any) -> Node:
    name = f"{scenario}/save/{release.name}"
    return Node(name, "save", release.name, scenario, None, costs.save(scenario, release))


def _load_node(costs: Costs, cell: Cell, saving: dict[tuple[str, str], Node]) -> Node:
    saved = saving.get((cell.scenario, cell.saved_by))
    needs = saved.id if saved else None
    return Node(cell.id, "load", cell.loaded_by, cell.scenario, needs, costs.load(cell))


def state(index: EvidenceIndex, cell: Cell) -> Basis | None:
    """Return where a cell's evidence comes from; None where there is none."""
    saved, loaded = index.cell(cell)
    if saved is None or loaded is None:
        return None
    return Basis.LIVE if saved.live and loaded.live else Basis.RECORDED


def graph(found: Estimate, index: EvidenceIndex) -> dict[str, Any]:
    """Return the graph of what is to be done, for JSON: each node says what it needs."""
    plan = index.plan
    return {
        "lane": plan.lane,
        "runner": plan.runner,
        "releases": [release.name for release in plan.releases.values()],
        "seconds": round(found.seconds, 3),
        "disk": found.disk,
        "nodes": [node.plain() for node in found.nodes],
    }
