"""The releases that can have written a checkpoint, by its traits and ``writers.toml``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from matrix.catalogue import tables
from matrix.catalogue.ranges import covers
from matrix.catalogue.releases import Catalogue, Release
from matrix.checkpoint import objects
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.states import ExtraState

_RECIPE_FIELDS = ("interval", "backward_override", "_cached_repr")


class Trait(tables.Row):
    """A trait and the releases that have it; ``writers.toml`` explains the fields."""

    trait: str
    releases: str
    sentence: str


class _Traits(tables.Row):
    trait: tuple[Trait, ...]


@dataclasses.dataclass(frozen=True)
class Writers:
    """The releases that can have written a checkpoint."""

    releases: tuple[Release, ...]
    """Oldest first; empty where there are no traits, or they contradict each other."""
    reasons: tuple[str, ...]
    """The traits as sentences."""


def find(contents: Contents, catalogue: Catalogue, saved_by: str | None) -> Writers:
    """Return the releases of a catalogue that can have written a checkpoint.

    :param saved_by: the release that wrote it, if that is known.
    :raises UsageError: that release is unknown.
    """
    if saved_by:
        return Writers((catalogue[saved_by],), ("so it was said",))
    known = {row.trait: row for row in tables.load(tables.packaged("writers.toml"), _Traits).trait}
    found = [known[name] for name in sorted(set(traits(contents)) & known.keys())]
    releases = tuple(
        release
        for release in catalogue.releases
        if found and all(covers(row.releases)(release.version) for row in found)
    )
    return Writers(releases, tuple(row.sentence for row in found))


def traits(contents: Contents) -> Iterator[str]:
    """Yield the names of the traits of a checkpoint; a name can be repeated."""
    for state in contents.states:
        if not state.problem:
            yield from _of_state(state)
    for name in contents.classes:
        yield f"class {name}"
    for count in contents.rebuilt_from:
        yield f"rebuilt from {count} arguments"


def _of_state(state: ExtraState) -> Iterator[str]:
    if state.attention:
        fused = state.unwrapped.endswith("fused_attention")
        yield "key core_attention.fused_attention" if fused else "key core_attention"
    yield f"container {state.container}"
    if state.fields is None:
        yield f"nothing in {state.container}"
        return
    yield from (f"field {name}" for name in state.fields)
    if "global_fp8_buffer" not in state.fields:
        yield "without field global_fp8_buffer"
    yield from (f"variable {name}" for name in state.extra)
    if "recipe" in state.fields:
        yield from _of_recipe(state)


def _of_recipe(state: ExtraState) -> Iterator[str]:
    assert state.fields is not None
    attributes = objects.attributes(state.fields["recipe"])
    for name in _RECIPE_FIELDS:
        yield f"recipe {name}" if name in attributes else f"recipe without {name}"
    if state.attention:
        yield f"attention {'with' if 'local_recipes' in state.extra else 'without'} local_recipes"
