"""The releases that can have written a checkpoint: those of which saves show all its traits."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection

from matrix.catalogue import ranges, tables
from matrix.catalogue.releases import Catalogue, Release
from matrix.checkpoint.contents import Contents
from matrix.doctor import likes, telling
from matrix.doctor.sightings import LANE
from matrix.doctor.telling import Trait


class Family(tables.Row):
    """A kind of trait; ``writers.toml`` explains the fields."""

    family: str
    sentence: str


class _Families(tables.Row):
    trait: tuple[Family, ...]


@dataclasses.dataclass(frozen=True)
class Writers:
    """The releases that can have written a checkpoint."""

    releases: tuple[Release, ...]
    """Oldest first; empty where there are no traits, or they contradict each other."""
    reasons: tuple[str, ...]
    """The traits that exclude a release, as sentences."""


def find(contents: Contents, catalogue: Catalogue, saved_by: str | None) -> Writers:
    """Return the releases of a catalogue that can have written a checkpoint.

    :param saved_by: the release that wrote it, if that is known.
    :raises UsageError: that release is unknown.
    :raises StoreError: what the recorded saves hold cannot be read.
    """
    if saved_by:
        return Writers((catalogue[saved_by],), ("so it was said",))
    shown_by = _shown_by()
    found = sorted(trait for trait in telling.traits(contents) if str(trait) in shown_by)
    wrote = _showing(found, catalogue)
    if not wrote:
        found = [trait for trait in found if trait.family != telling.MARK]
        wrote = _showing(found, catalogue)
    order = [release.name for release in catalogue.releases]
    reasons = (_sentence(trait, shown_by[str(trait)], order) for trait in found)
    return Writers(wrote, tuple(filter(None, reasons)))


def _showing(traits: Collection[Trait], catalogue: Catalogue) -> tuple[Release, ...]:
    """Return the releases of which saves show all traits; none where there are no traits."""
    shown_by = [_shown_by()[str(trait)] for trait in traits]
    every = catalogue.releases if shown_by else ()
    return tuple(r for r in every if all(r.name in savers for savers in shown_by))


@functools.cache
def _shown_by() -> dict[str, frozenset[str]]:
    """Return the names of the releases of which saves show a trait, by trait."""
    found: dict[str, set[str]] = {}
    for row in likes.load(LANE).saves:
        for trait in row.traits:
            found.setdefault(trait, set()).update(row.savers)
    return {trait: frozenset(savers) for trait, savers in found.items()}


@functools.cache
def _sentences() -> dict[str, str]:
    table = tables.load(tables.packaged("writers.toml"), _Families)
    return {row.family: row.sentence for row in table.trait}


def _sentence(trait: Trait, savers: frozenset[str], order: list[str]) -> str:
    """Return a trait as text; empty if every release has it."""
    if len(savers) == len(order):
        return ""
    text = _sentences()[trait.family].format(value=trait.short)
    return f"{text}: {ranges.text(savers, order)}"
