"""Behaviour bands, discovered: which releases save and load alike, and where that changes."""

from __future__ import annotations

import dataclasses
import itertools
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from matrix.catalogue import ranges
from matrix.report.document import Report, ReportCell

Role = Literal["loader", "saver"]
NO_CELL = "no such cell"

_Key = tuple[Role, str, str]
_Vector = Mapping[_Key, str]


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """Releases whose rows and columns are the same, partner by partner. Often not contiguous."""

    name: str
    releases: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Shift:
    """One thing that a release does differently from the one before it.

    ``partners`` are the savers that it loads, or the loaders of what it saves.
    """

    role: Role
    variant: str
    partners: tuple[str, ...]
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class BehaviourChange:
    """A release at which behaviour changes.

    ``after`` is the release looked at before it, ``unseen`` those between the two that
    were not: the change may have come with any of them. ``again`` tells that an older
    release behaves just so.
    """

    release: str
    behaviour: str
    after: str
    unseen: tuple[str, ...]
    again: bool
    shifts: tuple[Shift, ...]


@dataclasses.dataclass(frozen=True)
class FaqBand:
    """One of the FAQ's bands, and the parts of the observed behaviours that lie in it."""

    band: str
    parts: tuple[Behaviour, ...]

    @property
    def too_coarse(self) -> bool:
        """Whether the FAQ documents together what behaves differently."""
        return len(self.parts) > 1


@dataclasses.dataclass(frozen=True)
class BehaviourBands:
    """What one scenario's cells come down to. ``without`` counts cells without an outcome."""

    scenario: str
    behaviours: tuple[Behaviour, ...]
    faq: tuple[FaqBand, ...]
    changes: tuple[BehaviourChange, ...]
    without: int


def discover(report: Report, order: Sequence[str]) -> Iterator[BehaviourBands]:
    """Yield the bands of every scenario of a report.

    Two releases behave alike when, in every variant, each partner's checkpoint ends the
    same way in both, and each one's checkpoint ends the same way in each partner. A cell
    without an outcome is like itself only.

    Rewritten checkpoints do not count.

    :param order: every release there is, oldest first.
    """
    own = [cell for cell in report.cells if not cell.rewritten]
    for scenario in dict.fromkeys(cell.scenario for cell in own):
        cells = [cell for cell in own if cell.scenario == scenario]
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
    """Return what each release does with each partner, in order."""
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
    """Yield one scenario's bands as lines to read.

    :param order: every release there is, oldest first.
    """
    count = len(bands.behaviours)
    yield f"{bands.scenario}: {count} behaviours where the FAQ has {len(bands.faq)} bands"
    if bands.without:
        yield f"  {bands.without} cells have no outcome; releases that differ in them stand apart"
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
