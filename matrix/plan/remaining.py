"""The saves and loads of a plan that have no live evidence yet."""

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
"""Returns whether a release takes part in a run."""


def every_release(_release: Release) -> bool:
    """Return True: the filter for runs in which every release takes part."""
    return True


def every_unit(_release: Release, _scenario: str) -> bool:
    """Return True: the filter for runs without conditions on release and scenario."""
    return True


@dataclasses.dataclass(frozen=True)
class Scope:
    """The part of a plan that a run does; evidence on the rest is used as it is."""

    saves: bool = True
    """Whether the run saves."""
    loads: bool = True
    """Whether the run loads."""
    saves_with: Callable[[Release, str], bool] = every_unit
    """Returns whether a release saves in a scenario."""
    loads_with: Callable[[Release, str], bool] = every_unit
    """Returns whether a release loads in a scenario."""


class Remaining:
    """The work that remains for a plan.

    :param index: the plan and the evidence on it.
    :param scope: the part of the plan that counts.
    """

    def __init__(self, index: EvidenceIndex, scope: Scope) -> None:
        self._index = index
        self._plan = index.plan
        self._scope = scope

    def saves(self) -> list[tuple[str, Release]]:
        """Return (scenario, release) of every save without live evidence."""
        return [
            (scenario, release)
            for scenario in self._plan.scenarios
            for release in self._plan.saves(scenario)
            if self._scope.saves
            and self._scope.saves_with(release, scenario)
            and not self._live_save(scenario, release)
        ]

    def _live_save(self, scenario: str, release: Release) -> bool:
        known = self._index.save(scenario, release)
        return known is not None and known.live

    @gc_paused()
    def loads(self, saving: set[str] | None = None) -> dict[str, list[Cell]]:
        """Return the cells without live evidence by loader, sorted by scenario.

        :param saving: names of savers that have yet to save. All cells with their
            checkpoints are returned, as the keys of those loads are not known yet.
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
        """Return whether a cell's checkpoint exists and its load has no live evidence."""
        saved, loaded = self._index.cell(cell)
        if saved is None or saved.records[0].file_digest is None:
            return False
        return loaded is None or not loaded.live


def one_per_state(index: EvidenceIndex, cells: Iterable[Cell]) -> Iterator[Cell]:
    """Yield the cells, except those in which a loader loads the same state as in an earlier one.

    Cells whose checkpoint does not exist yet are yielded, as its state is not known.
    """
    keys: set[str] = set()
    for cell in cells:
        saver, loader = (index.plan.releases[name] for name in (cell.saved_by, cell.loaded_by))
        saved = index.save(cell.scenario, saver)
        if saved is not None:
            key = index.load_key(cell.scenario, cell.variant, saved.records[0], loader)
            if key in keys:
                continue
            keys.add(key)
        yield cell


def grouped(items: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """Return the items of (name, item) pairs as lists by name."""
    found: dict[str, list[Any]] = defaultdict(list)
    for name, item in items:
        found[name].append(item)
    return dict(found)
