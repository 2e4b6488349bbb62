"""The kinds of extra states that the recorded saves hold, and which saves hold each.

A file beside the recorded evidence lists them, so that evidence on a state of a checkpoint is
found without reading the records of every scenario, or any checkpoint. It is derived from the
checkpoints of the saves (:mod:`describing`), by the same classification as a user's checkpoint
(:mod:`kinds`), and written whenever evidence is recorded.
"""

from __future__ import annotations

import functools

from matrix.catalogue.words import Lane
from matrix.checkpoint import kinds
from matrix.checkpoint.kinds import ATTENTION, Kind, Traits
from matrix.store import derived
from matrix.store.records import Record

FORMAT = 1
"""Version of the file's format."""
_NAME = "states.json.xz"


class RecordedKind(Record):
    """A kind of extra state, and the modules that were seen to save it, or to be rewritten so."""

    traits: Traits
    """What of it can make a difference to a release that loads it."""
    modules: frozenset[str]
    """The modules that it is of, as ``features.toml`` names them."""

    def like(self, kind: Kind) -> bool:
        """Return whether a state of a checkpoint is one of this kind.

        The name of an attention module tells only attention modules apart.
        """
        if not self.modules & kind.modules:
            return False
        if self.modules == {ATTENTION}:
            return self.traits == kind.traits
        return kinds.without_style(self.traits) == kinds.without_style(kind.traits)


class RecordedStates(Record):
    """The extra states of one checkpoint, which one or several releases saved alike."""

    scenario: str
    """Name of the scenario."""
    savers: tuple[str, ...]
    """Names of the releases, oldest first."""
    states: dict[str, int]
    """The kind of each state by its key, as an index into ``Likes.kinds``. A module that has an
    extra state in later releases, and none here, is listed under the key that it would have."""
    traits: tuple[str, ...]
    """What of it tells the releases that can have written it, see :func:`telling.traits`. None for
    a rewritten checkpoint, which no release saves."""
    variant: str = ""
    """Name of the variant that rewrote it; empty for a checkpoint as it was saved. Its states are
    listed under the keys that they had before."""
    loaders: tuple[str, ...] = ()
    """Names of the releases that it was rewritten for, oldest first."""


class Likes(Record):
    """The extra states of all recorded saves."""

    format: int = FORMAT
    """Version of the file's format."""
    kinds: tuple[RecordedKind, ...]
    """The kinds."""
    saves: tuple[RecordedStates, ...]
    """The saves, by scenario; among them what variants rewrite them into, where no release saves
    the same kinds of states."""

    def of(self, kind: Kind) -> list[int]:
        """Return the indices of the kinds that a state of a checkpoint is like."""
        return [number for number, known in enumerate(self.kinds) if known.like(kind)]


@functools.cache
def load(lane: Lane) -> Likes:
    """Return the extra states of the recorded saves of a lane.

    :raises StoreError: the file is missing, or cannot be read.
    """
    return derived.read(lane, _NAME, Likes)


def write(lane: Lane, likes: Likes) -> None:
    """Write the file of a lane.

    :raises OSError: it cannot be written.
    """
    load.cache_clear()
    derived.write(lane, _NAME, likes.model_dump_json(exclude_defaults=True))
