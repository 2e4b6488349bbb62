"""The plan: which cells there are, before anything is run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import SizedScenario, Variant
from matrix.catalogue.words import Lane, Requirement, RunnerName
from matrix.errors import UsageError
from matrix.system.collector import gc_paused


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """One question: does what ``saved_by`` wrote load in ``loaded_by``?"""

    scenario: str
    variant: str
    saved_by: str
    loaded_by: str

    @property
    def id(self) -> str:
        """Readable name, e.g. ``autocast/plain/1.7->2.4``; never parsed back."""
        return f"{self.scenario}/{self.variant}/{self.saved_by}->{self.loaded_by}"


@dataclasses.dataclass(frozen=True)
class Control:
    """What a loader must do with its own save before its cells are believed.

    :param loads: how often one process loads it, each time into a model of its own; the last
        is what is observed.
    """

    name: str
    rewrite: str | None
    required: Requirement
    loads: int = 1


CONTROLS = (
    Control("own", None, Requirement.LOADED),
    Control("again", None, Requirement.LOADED, loads=2),
    Control("unknown-key", "unknown-key", Requirement.ERROR),
    Control("truncated", "truncated", Requirement.NOT_LOADED),
    Control("empty", "empty", Requirement.SHOWN_ONLY),
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cells asked for and all that judging them needs beside evidence."""

    lane: Lane
    runner: RunnerName
    scenarios: dict[str, SizedScenario]
    variants: dict[str, Variant]
    savers: tuple[Release, ...]
    loaders: tuple[Release, ...]
    cells: tuple[Cell, ...]
    whole: bool

    @functools.cached_property
    def releases(self) -> dict[str, Release]:
        """Every release in the plan by name, oldest first."""
        both = {release.name: release for release in (*self.savers, *self.loaders)}
        return dict(sorted(both.items(), key=lambda item: item[1].order))


def applies(
    variant: Variant, saved_by: Release, loaded_by: Release, documentation: Documentation
) -> bool:
    """Tell whether a variant applies to a pair; one that does not is no cell."""
    if variant.opt_in == "only" and loaded_by.opt_in is None:
        return False
    if not variant.covers(saved_by, loaded_by):
        return False
    return variant.saved_by is None or documentation.band(saved_by).name in variant.saved_by


@gc_paused()
def plan_cells(
    documentation: Documentation,
    scenarios: dict[str, SizedScenario],
    variants: dict[str, Variant],
    savers: Sequence[Release],
    loaders: Sequence[Release],
    *,
    lane: Lane = Lane.CPU,
    runner: RunnerName = RunnerName.LOCAL,
    whole: bool = False,
    candidate_as: str = "both",
) -> Plan:
    """Lay out every cell of the selection.

    :param candidate_as: ``loader``: no cell has a candidate's save loaded by another
        release; ``saver``: the reverse; ``both``: every cell.
    :param whole: the whole catalogue was selected, so that a ledger entry which
        no cell falls under is an error.
    :raises UsageError: no variant applies to any pair.
    """
    cells = tuple(
        cell
        for cell in _cells(documentation, scenarios, variants, savers, loaders)
        if _asked(cell, candidate_as)
    )
    if not cells:
        raise UsageError(
            "the selection holds no cell",
            why=f"variant {', '.join(variants)} applies to none of its pairs",
            do="`te-matrix plan --variant all` shows which do",
        )
    return Plan(lane, runner, scenarios, variants, tuple(savers), tuple(loaders), cells, whole)


def _asked(cell: Cell, candidate_as: str) -> bool:
    """Tell whether a cell is wanted, for what candidates are tried as."""
    saver, loader = ("@" in name for name in (cell.saved_by, cell.loaded_by))
    if candidate_as == "both" or cell.saved_by == cell.loaded_by:
        return True
    return not saver if candidate_as == "loader" else not loader


def _cells(
    documentation: Documentation,
    scenarios: dict[str, SizedScenario],
    variants: dict[str, Variant],
    savers: Sequence[Release],
    loaders: Sequence[Release],
) -> Iterator[Cell]:
    for loader in loaders:
        for scenario in scenarios:
            for variant in variants.values():
                for saver in savers:
                    if applies(variant, saver, loader, documentation):
                        yield Cell(scenario, variant.name, saver.name, loader.name)
