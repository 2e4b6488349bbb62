"""Group releases that save and load alike, and find where behaviour changes."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from matrix.catalogue import ranges
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.system.counting import counted

Role = Literal["loader", "saver"]
"""Whether a release loads or saves in a cell."""
NO_CELL = "no such cell"
"""Stands for the outcome where a variant does not apply to the pair of releases."""

_Key = tuple[Role, str, str]
_Vector = Mapping[_Key, str]


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """Releases that behave alike, see :func:`discover`."""

    name: str
    """A letter: A, B, ... Z, AA, ..."""
    releases: tuple[str, ...]
    """Names of the releases, oldest first; they need not be consecutive."""


@dataclasses.dataclass(frozen=True)
class Shift:
    """One difference in behaviour between two releases."""

    role: Role
    """Whether they differ as loaders or as savers."""
    variant: str
    """Name of the variant."""
    partners: tuple[str, ...]
    """The savers whose checkpoints they load, or the loaders of their checkpoints."""
    before: str
    """The outcome with the older release, as :attr:`ReportCell.seen`, or ``no such cell``."""
    after: str
    """The outcome with the newer release."""


@dataclasses.dataclass(frozen=True)
class BehaviourChange:
    """A release that behaves differently from the one before it in the report."""

    release: str
    """Name of the release."""
    behaviour: str
    """Name of its behaviour."""
    after: str
    """Name of the release before it in the report."""
    unseen: tuple[str, ...]
    """Releases between the two that the report lacks; the change may be due to any of them."""
    again: bool
    """Whether an older release has the same behaviour."""
    shifts: tuple[Shift, ...]
    """The differences."""


@dataclasses.dataclass(frozen=True)
class FaqBand:
    """One of the FAQ's bands and the behaviours that its releases have."""

    band: str
    """Name of the band."""
    parts: tuple[Behaviour, ...]
    """The behaviours, with the releases of the band only."""

    @property
    def too_coarse(self) -> bool:
        """Whether the band contains releases that behave differently."""
        return len(self.parts) > 1


@dataclasses.dataclass(frozen=True)
class BehaviourBands:
    """The behaviours in one scenario."""

    scenario: str
    """Name of the scenario."""
    behaviours: tuple[Behaviour, ...]
    """The behaviours, by their oldest release."""
    faq: tuple[FaqBand, ...]
    """The FAQ's bands, for comparison."""
    changes: tuple[BehaviourChange, ...]
    """The releases at which behaviour changes, oldest first."""
    without: int
    """Number of cells without an outcome."""


def discover(report: Report, order: Sequence[str]) -> Iterator[BehaviourBands]:
    """Yield the behaviours in every scenario of a report.

    Two releases behave alike if, in every variant, loading a third release's checkpoint has
    the same outcome in both, and loading their checkpoints in a third release has too.
    Variants that load rewritten files are ignored.

    :param order: the names of all known releases, oldest first.
    """
    by_scenario: dict[str, list[ReportCell]] = {}
    for cell in report.cells:
        if not cell.rewritten:
            by_scenario.setdefault(cell.scenario, []).append(cell)
    for scenario, cells in by_scenario.items():
        vectors = _vectors(cells, order)
        behaviours = _behaviours(vectors)
        yield BehaviourBands(
            scenario,
            behaviours,
            tuple(_faq(report, behaviours)),
            tuple(_changes(vectors, behaviours, order)),
            sum(not cell.present for cell in cells),
        )


def _vectors(cells: Sequence[ReportCell], order: Sequence[str]) -> dict[str, _Vector]:
    """Return the outcomes of each release by role, variant and partner, oldest release first."""
    found: dict[str, dict[_Key, str]] = {}
    for cell in cells:
        seen = cell.seen
        found.setdefault(cell.loaded_by, {})["loader", cell.variant, cell.saved_by] = seen
        found.setdefault(cell.saved_by, {})["saver", cell.variant, cell.loaded_by] = seen
    return {name: found[name] for name in order if name in found}


def _behaviours(vectors: Mapping[str, _Vector]) -> tuple[Behaviour, ...]:
    alike: dict[frozenset[tuple[_Key, str]], list[str]] = {}
    for release, vector in vectors.items():
        alike.setdefault(frozenset(vector.items()), []).append(release)
    return tuple(
        Behaviour(_letters(number), tuple(names)) for number, names in enumerate(alike.values())
    )


def _letters(number: int) -> str:
    more, last = divmod(number, 26)
    return (_letters(more - 1) if more else "") + string.ascii_uppercase[last]


def _faq(report: Report, behaviours: Sequence[Behaviour]) -> Iterator[FaqBand]:
    members: dict[str, set[str]] = {}
    for row in report.releases:
        members.setdefault(row.band, set()).add(row.name)
    for band, names in members.items():
        inside = [
            Behaviour(one.name, tuple(name for name in one.releases if name in names))
            for one in behaviours
        ]
        yield FaqBand(band, tuple(part for part in inside if part.releases))


def _changes(
    vectors: Mapping[str, _Vector], behaviours: Sequence[Behaviour], order: Sequence[str]
) -> Iterator[BehaviourChange]:
    behaviour_of = {name: one for one in behaviours for name in one.releases}
    names = list(vectors)
    for before, release in itertools.pairwise(names):
        now = behaviour_of[release]
        if now is behaviour_of[before]:
            continue
        yield BehaviourChange(
            release=release,
            behaviour=now.name,
            after=before,
            unseen=tuple(order[order.index(before) + 1 : order.index(release)]),
            again=now.releases[0] != release,
            shifts=tuple(_shifts(vectors[before], vectors[release], order)),
        )


def _shifts(before: _Vector, after: _Vector, order: Sequence[str]) -> Iterator[Shift]:
    found: dict[tuple[Role, str, str, str], set[str]] = {}
    for key in before.keys() | after.keys():
        role, variant, partner = key
        old, new = before.get(key, NO_CELL), after.get(key, NO_CELL)
        if old != new:
            found.setdefault((role, variant, old, new), set()).add(partner)
    for (role, variant, old, new), partners in sorted(found.items()):
        yield Shift(role, variant, tuple(n for n in order if n in partners), old, new)


def lines(bands: BehaviourBands, order: Sequence[str]) -> Iterator[str]:
    """Yield the behaviours in one scenario as lines of text.

    :param order: the names of all known releases, oldest first.
    """
    count = counted(len(bands.behaviours), "behaviour")
    faq = counted(len(bands.faq), "band")
    yield f"{bands.scenario}: {count} where the FAQ has {faq}"
    if bands.without:
        cells = counted(bands.without, "cell")
        yield f"  {cells} without outcome; releases that differ in them stand apart"
    for one in bands.behaviours:
        yield f"  {one.name:3} {ranges.text(one.releases, order)}"
    yield "  Beside the FAQ:"
    for band in bands.faq:
        parts = "; ".join(
            f"{part.name}: {ranges.text(part.releases, order)}" for part in band.parts
        )
        yield f"    {band.band:9} {'too coarse' if band.too_coarse else 'one behaviour'}: {parts}"
    yield "  Where it changes:"
    for change in bands.changes:
        yield from _change_lines(change, order)


def _change_lines(change: BehaviourChange, order: Sequence[str]) -> Iterator[str]:
    again = ", seen before" if change.again else ""
    unseen = f"; not looked at: {ranges.text(change.unseen, order)}" if change.unseen else ""
    after = f"after {change.after}{unseen}"
    yield f"    {change.release} (behaviour {change.behaviour}{again}; {after})"
    for shift in change.shifts:
        partners = ranges.text(shift.partners, order)
        doing = f"loading {partners}" if shift.role == "loader" else f"loaded by {partners}"
        yield f"      {shift.variant}, {doing}: {shift.before} -> {shift.after}"
