"""Plans and cells: the loads that a selection of releases, scenarios and variants means."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, Self

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import SizedScenario, Variant
from matrix.catalogue.words import ControlName, Lane, Requirement, RunnerName
from matrix.errors import UsageError
from matrix.system.collector import gc_paused

_ID = re.compile(r"([^/\s]+)/([^/\s]+)/([^/\s]+?)->([^/\s]+)")


class Cell(NamedTuple):
    """One load to measure and judge: a release's checkpoint in another or the same release."""

    scenario: str
    """Name of the scenario."""
    variant: str
    """Name of the variant."""
    saved_by: str
    """Name of the release that saves."""
    loaded_by: str
    """Name of the release that loads."""

    @property
    def id(self) -> str:
        """Name for people and files, e.g. ``autocast/plain/1.7->2.4``; see :meth:`named`."""
        return f"{self.scenario}/{self.variant}/{self.saved_by}->{self.loaded_by}"

    @classmethod
    def named(cls, text: str) -> Self:
        """Return the cell with an id that somebody copied from a report.

        :raises UsageError: it has another form; whether the names in it exist is not checked.
        """
        found = _ID.fullmatch(text.strip())
        if found is None:
            raise UsageError(
                f"{text!r} is no cell",
                do="Name it as reports do: SCENARIO/VARIANT/SAVED_BY->LOADED_BY, in quotes",
            )
        return cls(*found.groups())


@dataclasses.dataclass(frozen=True)
class Control:
    """A check of a loading release on its own save, sound or damaged on purpose."""

    name: ControlName
    """Name of the control in reports."""
    rewrite: str | None
    """Name of the change to the state dict that the worker makes; None for a sound save."""
    required: Requirement
    """The outcome that the loader must have."""
    loads: int = 1
    """How often one process loads the save, each time into a new model; the last counts."""


CONTROL = "control:"
"""Prefix of the variants that the loads of controls are recorded under."""

CONTROLS = (
    Control(ControlName.OWN, None, Requirement.LOADED),
    Control(ControlName.AGAIN, None, Requirement.LOADED, loads=2),
    Control(ControlName.UNKNOWN_KEY, "unknown-key", Requirement.ERROR),
    Control(ControlName.TRUNCATED, "truncated", Requirement.NOT_LOADED),
    Control(ControlName.EMPTY, "empty", Requirement.SHOWN_ONLY),
)
"""The controls of every loader."""


def controls_of(scenario: SizedScenario) -> tuple[Control, ...]:
    """Return the controls of a scenario: where loads are not strict, no unknown key is an error."""
    strict = scenario.scenario.transport.strict
    return tuple(c for c in CONTROLS if strict or c.name != ControlName.UNKNOWN_KEY)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Cells to measure and judge, with their releases, scenarios, variants, lane and runner."""

    lane: Lane
    """What executes Transformer Engine."""
    runner: RunnerName
    """Where it is executed."""
    scenarios: dict[str, SizedScenario]
    """The scenarios by name."""
    variants: dict[str, Variant]
    """The variants by name."""
    savers: tuple[Release, ...]
    """The releases that save, oldest first."""
    loaders: tuple[Release, ...]
    """The releases that load, oldest first."""
    cells: tuple[Cell, ...]
    """The cells, ordered by loader, scenario, variant and saver."""
    whole: bool
    """Whether the whole catalogue was selected, in all scenarios and variants."""
    controlled: tuple[Release, ...]
    """The loaders whose controls are part of the plan."""
    real_binding: bool = False
    """Whether the cpu lane runs on the releases' own compiled extensions."""

    @property
    def lane_key(self) -> str:
        """The lane in keys of evidence: what is measured on the two bindings is kept apart."""
        return f"{self.lane.value}/binding" if self.real_binding else self.lane.value

    @functools.cached_property
    def savers_of(self) -> dict[str, frozenset[str]]:
        """The names of the releases, by scenario, that have what it is saved with."""
        return {
            name: frozenset(r.name for r in self.releases.values() if sized.is_saved_by(r))
            for name, sized in self.scenarios.items()
        }

    def saves(self, scenario: str) -> list[Release]:
        """Return the releases of the plan that save in a scenario, oldest first."""
        return [r for r in self.releases.values() if r.name in self.savers_of[scenario]]

    def controls(self) -> Iterator[tuple[str, Release]]:
        """Yield the scenarios and loaders that have controls: a loader loads its own save."""
        for scenario in self.scenarios:
            for loader in self.controlled:
                if loader.name in self.savers_of[scenario]:
                    yield scenario, loader

    def of(self, names: Collection[str]) -> Plan:
        """Return the cells in which one of the named releases saves or loads.

        Controls are those of the named releases alone. All savers remain, as their checkpoints
        are loaded.
        """
        return dataclasses.replace(
            self,
            cells=tuple(c for c in self.cells if c.saved_by in names or c.loaded_by in names),
            controlled=tuple(r for r in self.loaders if r.name in names),
            whole=False,
        )

    @functools.cached_property
    def releases(self) -> dict[str, Release]:
        """All releases of the plan by name, oldest first."""
        both = {release.name: release for release in (*self.savers, *self.loaders)}
        return dict(sorted(both.items(), key=lambda item: item[1].order))


def applies(
    variant: Variant, saved_by: Release, loaded_by: Release, documentation: Documentation
) -> bool:
    """Return whether a variant applies to a pair of releases; otherwise there is no cell."""
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
    real_binding: bool = False,
    whole: bool = False,
    candidate_as: str = "both",
) -> Plan:
    """Return the plan of a selection.

    :param candidate_as: ``loader``: leave out cells in which another release loads a
        candidate's save; ``saver``: those in which a candidate loads another release's save;
        ``both``: leave out none.
    :param whole: see :attr:`Plan.whole`.
    :raises UsageError: no variant applies to any pair of releases.
    """
    cells = tuple(_cells(documentation, scenarios, variants, savers, loaders))
    if candidate_as != "both":
        cells = tuple(cell for cell in cells if _wanted(cell, candidate_as))
    if not cells:
        raise UsageError(
            "the selection holds no cell",
            why=f"no pair of its releases has what scenario {', '.join(scenarios)} needs, or "
            f"variant {', '.join(variants)} applies to none",
            do="`te-matrix plan --variant all` shows which do",
        )
    return Plan(
        lane=lane,
        runner=runner,
        scenarios=scenarios,
        variants=variants,
        savers=tuple(savers),
        loaders=tuple(loaders),
        cells=cells,
        whole=whole,
        controlled=tuple(loaders),
        real_binding=real_binding,
    )


def _wanted(cell: Cell, candidate_as: str) -> bool:
    """Return whether a cell is to be kept of a candidate that is one of the two."""
    saver, loader = ("@" in name for name in (cell.saved_by, cell.loaded_by))
    if cell.saved_by == cell.loaded_by:
        return True
    return not saver if candidate_as == "loader" else not loader


def _cells(
    documentation: Documentation,
    scenarios: dict[str, SizedScenario],
    variants: dict[str, Variant],
    savers: Sequence[Release],
    loaders: Sequence[Release],
) -> Iterator[Cell]:
    able = {
        name: {saver.name for saver in filter(sized.is_saved_by, savers)}
        for name, sized in scenarios.items()
    }
    for loader in loaders:
        # The same in all scenarios, and asked tens of thousands of times.
        pairs = {
            name: [s.name for s in savers if applies(variant, s, loader, documentation)]
            for name, variant in variants.items()
        }
        for scenario, sized in scenarios.items():
            if not sized.is_loaded_by(loader):
                continue
            for variant in [each for each in variants.values() if each.applies_to(sized, loader)]:
                for saver in pairs[variant.name]:
                    if saver in able[scenario]:
                        yield Cell(scenario, variant.name, saver, loader.name)
