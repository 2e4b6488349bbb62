"""Which changes of behaviour all modules have in common, and which are one module's own.

What becomes of metadata depends on the module and the recipe, whether a load raises an exception
mostly on the releases. So two changes count as one where both go from or to an exception; all
others only where the outcomes are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from matrix.catalogue import ranges
from matrix.catalogue.words import Absence, Outcome
from matrix.report.behaviour import NO_CELL, Behaviour, BehaviourBands, BehaviourChange, Role, Shift
from matrix.report.document import Report
from matrix.system.counting import counted

Reach = Literal["all", "several", "one"]
"""How many modules show a change, of those with FP8 state that both releases have."""
TITLES: dict[Reach, str] = {
    "all": "In all modules with FP8 state",
    "several": "In several modules",
    "one": "In one module only",
}
"""Each reach as a heading, in the order of listings."""
THROUGH = "goes through"
"""Stands for many outcomes, of which none is ``error``."""

_ERROR = Outcome.ERROR.value
_NOTHING_SEEN = {NO_CELL, *(absence.value for absence in Absence)}
_MOST = 3


@dataclasses.dataclass(frozen=True)
class SharedShift:
    """One difference between a release and the one before it, and the scenarios that show it."""

    release: str
    """Name of the release."""
    after: str
    """Name of the release before it."""
    role: Role
    """Whether they differ as loaders or as savers."""
    variant: str
    """Name of the variant."""
    before: tuple[str, ...]
    """The outcomes with the older release."""
    now: tuple[str, ...]
    """The outcomes with the newer release."""
    partners: Mapping[str, tuple[str, ...]]
    """By scenario that shows it, the savers whose checkpoints, or the loaders in which, it does."""
    modules: tuple[str, ...]
    """Names of the modules of these scenarios."""
    others: tuple[str, ...]
    """Names of the modules with FP8 state that both releases have, and that do not show it."""
    reach: Reach
    """How many modules show it, of those with FP8 state that both releases have."""


@dataclasses.dataclass(frozen=True)
class AlikeScenarios:
    """Scenarios in which the same releases stand together."""

    scenarios: tuple[str, ...]
    """Names of the scenarios."""
    bands: BehaviourBands
    """The behaviours in the first of them."""


def alike(found: Sequence[BehaviourBands]) -> list[AlikeScenarios]:
    """Return scenarios put together in which the same releases stand together."""
    groups: dict[tuple[Behaviour, ...], list[BehaviourBands]] = {}
    for one in found:
        groups.setdefault(one.behaviours, []).append(one)
    return [
        AlikeScenarios(tuple(one.scenario for one in group), group[0]) for group in groups.values()
    ]


_Key = tuple[str, str, Role, str, str, str]
_Members = dict[str, list[Shift]]


def shared(report: Report, found: Sequence[BehaviourBands]) -> list[SharedShift]:
    """Return the changes of behaviour, those that most modules and scenarios show first.

    Where there is no outcome or no cell on one side, nothing is known to have changed.

    :param found: the behaviours in every scenario of the report.
    """
    # A report of format 1 does not describe its scenarios: each counts as a module of its own.
    module_of = {bands.scenario: bands.scenario for bands in found}
    module_of |= {row.name: row.module for row in report.scenarios}
    members = _members(found)
    having = _having(report, found, module_of, members)
    made = [_shared(key, of, module_of, having[key[:2]]) for key, of in members.items()]
    reaches = list(TITLES)
    return sorted(
        made,
        key=lambda one: (reaches.index(one.reach), -len(one.modules), -len(one.partners)),
    )


def _members(found: Sequence[BehaviourBands]) -> dict[_Key, _Members]:
    members: dict[_Key, _Members] = {}
    for bands in found:
        for change in bands.changes:
            for key, shift in _keyed(change):
                members.setdefault(key, {}).setdefault(bands.scenario, []).append(shift)
    return members


def _having(
    report: Report,
    found: Sequence[BehaviourBands],
    module_of: Mapping[str, str],
    keys: Iterable[_Key],
) -> dict[tuple[str, str], set[str]]:
    """Return the modules with FP8 state that both releases of a change have.

    Norms hold none, and take no part in most changes.
    """
    without = {row.name for row in report.scenarios if row.state == "none"}
    stateful = {module for scenario, module in module_of.items() if scenario not in without}
    return {
        (release, after): {
            module_of[bands.scenario] for bands in found if _has(bands, release, after)
        }
        & stateful
        for release, after, *_rest in keys
    }


def _keyed(change: BehaviourChange) -> Iterator[tuple[_Key, Shift]]:
    for shift in change.shifts:
        before, after = shift.before, shift.after
        if _NOTHING_SEEN & {before, after}:
            continue
        if _ERROR in (before, after):
            before, after = (one if one == _ERROR else THROUGH for one in (before, after))
        yield (change.release, change.after, shift.role, shift.variant, before, after), shift


def _has(bands: BehaviourBands, *releases: str) -> bool:
    known = {name for one in bands.behaviours for name in one.releases}
    return known.issuperset(releases)


def _shared(
    key: _Key, members: _Members, module_of: Mapping[str, str], having: set[str]
) -> SharedShift:
    release, after, role, variant, _before, _now = key
    shifts = [shift for found in members.values() for shift in found]
    modules = tuple(dict.fromkeys(module_of[scenario] for scenario in members))
    others = tuple(sorted(having.difference(modules)))
    several: Reach = "several" if others or not having else "all"
    return SharedShift(
        release=release,
        after=after,
        role=role,
        variant=variant,
        before=tuple(dict.fromkeys(shift.before for shift in shifts)),
        now=tuple(dict.fromkeys(shift.after for shift in shifts)),
        partners={
            scenario: tuple(dict.fromkeys(name for shift in found for name in shift.partners))
            for scenario, found in members.items()
        },
        modules=modules,
        others=others,
        reach=several if len(modules) > 1 else "one",
    )


def lines(
    shifts: Sequence[SharedShift], found: Sequence[BehaviourBands], order: Sequence[str]
) -> Iterator[str]:
    """Yield the behaviours in many scenarios as lines of text, what is common first.

    :param order: the names of all known releases, oldest first.
    """
    scenarios = counted(len(found), "scenario")
    yield f"{scenarios}. Where behaviour changes, from one release to the next:"
    for title, changes in by_reach(shifts, order).items():
        yield f"{title} ({counted(len(changes), 'change')}){':' if changes else ''}"
        yield from (f"  {change}" for change in changes)
    yield "Releases that behave alike, beside the FAQ's bands:"
    for group in alike(found):
        yield from _alike_lines(group, order)
    yield "`te-matrix bands --scenario NAME` has one scenario in full, --json all of them."


def by_reach(shifts: Sequence[SharedShift], order: Sequence[str]) -> dict[str, list[str]]:
    """Return changes as lines of text under their headings, oldest release first.

    What is one module's own is listed module by module.

    :param order: the names of all known releases, oldest first.
    """
    ordered = sorted(shifts, key=lambda shift: _place(shift, order))
    return {
        title: [sentence(one, order) for one in ordered if one.reach == reach]
        for reach, title in TITLES.items()
    }


def _place(one: SharedShift, order: Sequence[str]) -> tuple[str, int]:
    return one.modules[0] if one.reach == "one" else "", order.index(one.release)


def sentence(one: SharedShift, order: Sequence[str]) -> str:
    """Return a change as a line of text.

    :param order: the names of all known releases, oldest first.
    """
    sets = list(dict.fromkeys(one.partners.values()))
    named = ranges.text({name for names in sets for name in names}, order)
    which = named if len(sets) == 1 else f"some of {named}"
    doing = f"loading {which}" if one.role == "loader" else f"loaded by {which}"
    change = f"{_outcomes(one.before)} -> {_outcomes(one.now)}"
    return f"{one.release}: {one.variant}, {doing}: {change}  [{_where(one)}]"


def _outcomes(seen: Sequence[str]) -> str:
    return " / ".join(seen) if len(seen) <= _MOST else THROUGH


def _where(one: SharedShift) -> str:
    scenarios = ", ".join(one.partners)
    if len(one.partners) > _MOST:
        scenarios = counted(len(one.partners), "scenario")
    if one.reach == "all":
        return scenarios
    modules = ", ".join(one.modules)
    if len(one.modules) > len(one.others):
        modules = f"all with FP8 state but {', '.join(one.others)}" if one.others else modules
    return f"{modules}: {scenarios}"


def _alike_lines(group: AlikeScenarios, order: Sequence[str]) -> Iterator[str]:
    bands = group.bands
    coarse = ", ".join(band.band for band in bands.faq if band.too_coarse) or "none"
    yield f"  {', '.join(group.scenarios)}"
    parts = (f"{one.name} {ranges.text(one.releases, order)}" for one in bands.behaviours)
    yield f"    {'; '.join(parts)}"
    yield f"    too coarse of the FAQ's bands: {coarse}"
