"""Expected cost of a plan before it is run, and the graph of its saves and loads."""

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
"""Approximate size in bytes of an image built on NVIDIA's PyTorch container, with its base."""
OTHER_IMAGE = 10_000_000_000
"""Approximate upper limit in bytes of all other images, with their base."""


@dataclasses.dataclass(frozen=True)
class Node:
    """One save or load that remains to be done."""

    id: str
    """``SCENARIO/save/RELEASE``, or the id of the cell."""
    does: str
    """``save`` or ``load``."""
    release: str
    """Name of the release that saves or loads."""
    scenario: str
    """Name of the scenario."""
    needs: str | None
    """Id of the save that it loads, where that remains to be done too."""
    seconds: float
    """Expected duration."""

    def plain(self) -> dict[str, Any]:
        """Return the node as plain data for JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """The work that remains for a plan, and its expected cost."""

    known: int
    """Number of cells with evidence in the store."""
    recorded: int
    """Number of cells with recorded evidence; a run that has their source measures them."""
    cells: int
    """Number of cells that a run has to measure, with those that have recorded evidence."""
    shared: int
    """Number of loads that are left out because another saver wrote the same state."""
    nodes: tuple[Node, ...]
    """The remaining saves and loads."""
    images: tuple[str, ...] | None
    """Releases whose container image has to be built; None for other runners."""
    seconds: float
    """Expected seconds of all nodes one after another."""
    longest: float
    """Expected seconds of the release that takes longest, a lower limit for any number of jobs."""
    disk: int
    """Bytes by which store and images grow."""
    timed: bool
    """Whether any duration in this lane is known; otherwise times are guesses."""

    def on(self, jobs: int) -> float:
        """Return the least number of seconds that this many jobs can take."""
        return max(self.seconds / jobs, self.longest)


@gc_paused()
def estimate(index: EvidenceIndex, images: tuple[str, ...] | None, image_bytes: int) -> Estimate:
    """Return the expected cost of measuring the cells of a plan that have no live evidence.

    :param index: the plan and the evidence on it.
    :param images: see :attr:`Estimate.images`.
    :param image_bytes: size of those images together.
    """
    costs, remaining = Costs(index), Remaining(index, Scope())
    saves = [_save_node(costs, scenario, release) for scenario, release in remaining.saves()]
    saving = {(node.scenario, node.release): node for node in saves}
    by_loader = remaining.loads({node.release for node in saves})
    cells = [cell for loads in by_loader.values() for cell in loads]
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
    """Return where the evidence on a cell was obtained; None where there is none."""
    saved, loaded = index.cell(cell)
    if saved is None or loaded is None:
        return None
    return Basis.of(saved.live and loaded.live)


def graph(found: Estimate, index: EvidenceIndex) -> dict[str, Any]:
    """Return the remaining saves and loads as a graph, as plain data for JSON."""
    plan = index.plan
    return {
        "lane": plan.lane,
        "runner": plan.runner,
        "releases": [release.name for release in plan.releases.values()],
        "seconds": round(found.seconds, 3),
        "disk": found.disk,
        "nodes": [node.plain() for node in found.nodes],
    }
