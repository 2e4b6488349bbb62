"""What of a plan is left to do: the saves and the loads that are not in the store."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from matrix.catalogue.releases import Release
from matrix.plan.cells import Cell
from matrix.plan.evidence_index import EvidenceIndex, pairs
from matrix.system.collector import gc_paused

ReleaseFilter = Callable[[Release], bool]
"""Says of a release whether it takes part in a run."""


def every_release(_release: Release) -> bool:
    """Return True: the filter of a run in which every release takes part."""
    return True


def every_unit(_release: Release, _scenario: str) -> bool:
    """Return True: every release takes part, in every scenario."""
    return True


@dataclasses.dataclass(frozen=True)
class Scope:
    """The part of a plan that one run is to do.

    :param saves: whether it saves.
    :param loads: whether it loads.
    :param saves_with: which releases save, in which scenarios.
    :param loads_with: which releases load, in which scenarios. What the others have done is
        used as it is.
    """

    saves: bool = True
    loads: bool = True
    saves_with: Callable[[Release, str], bool] = every_unit
    loads_with: Callable[[Release, str], bool] = every_unit


class Remaining:
    """Compares a plan with what is known."""

    def __init__(self, index: EvidenceIndex, scope: Scope) -> None:
        self._index = index
        self._plan = index.plan
        self._scope = scope

    def saves(self) -> list[tuple[str, Release]]:
        """Return (scenario, release) of every save that is not in the store."""
        return [
            (scenario, release)
            for scenario in self._plan.scenarios
            for release in self._plan.releases.values()
            if self._scope.saves
            and self._scope.saves_with(release, scenario)
            and not self._live_save(scenario, release)
        ]

    def _live_save(self, scenario: str, release: Release) -> bool:
        known = self._index.save(scenario, release)
        return known is not None and known.live

    @gc_paused()
    def loads(self, saving: set[str] | None = None) -> dict[str, list[Cell]]:
        """Return the cells of each loader that are not in the store, scenario by scenario.

        :param saving: savers whose checkpoints are still to be made; what will
            load them is not known yet, so their loaders are wanted in any case.
        """
        wanted = grouped(
            (cell.loaded_by, cell)
            for cell in (pairs(self._plan) if self._scope.loads else [])
            if self._scope.loads_with(self._plan.releases[cell.loaded_by], cell.scenario)
            and (cell.saved_by in (saving or ()) or self.unknown(cell))
        )
        return {
            name: sorted(cells, key=lambda cell: cell.scenario) for name, cells in wanted.items()
        }

    def unknown(self, cell: Cell) -> bool:
        """Whether a cell could be loaded now, and has not been."""
        saved, loaded = self._index.cell(cell)
        return saved is not None and (loaded is None or not loaded.live)


def one_per_state(index: EvidenceIndex, cells: Iterable[Cell]) -> Iterator[Cell]:
    """Leave out what an earlier cell answers: the same loader, loading the very same state.

    A cell whose save is not known yet stays: nobody knows what it will hold.
    """
    asked: set[str] = set()
    for cell in cells:
        saver, loader = (index.plan.releases[name] for name in (cell.saved_by, cell.loaded_by))
        saved = index.save(cell.scenario, saver)
        if saved is not None:
            key = index.load_key(cell.scenario, cell.variant, saved.records[0], loader)
            if key in asked:
                continue
            asked.add(key)
        yield cell


def grouped(items: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Collect (name, item) pairs by name."""
    found: dict[str, list[Any]] = defaultdict(list)
    for name, item in items:
        found[name].append(item)
    return dict(found)
