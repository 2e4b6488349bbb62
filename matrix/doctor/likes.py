"""The kinds of extra states that the recorded saves hold, and which saves hold each.

A file beside the recorded evidence lists them, so that evidence on a state of a checkpoint is
found without reading the records of every scenario, or any checkpoint. It is derived from the
checkpoints of the saves, by the same classification as a user's checkpoint (:mod:`kinds`), and
written whenever evidence is recorded.
"""

from __future__ import annotations

import functools
import operator
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from matrix.catalogue import releases, scenarios
from matrix.catalogue.words import Lane
from matrix.checkpoint import kinds, layout
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.kinds import ATTENTION, Kind, Traits
from matrix.doctor import telling
from matrix.store import derived
from matrix.store.records import Record, Save

FORMAT = 1
"""Version of the file's format."""
_NAME = "states.json.xz"
_States: TypeAlias = tuple[tuple[str, int], ...]
_Groups: TypeAlias = dict[tuple[str, _States, tuple[str, ...]], list[Save]]
"""Saves by scenario, by their states and by what tells their writers."""


class RecordedKind(Record):
    """A kind of extra state, and the modules that were seen to save it."""

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
    """What of it tells the releases that can have written it, see :func:`telling.traits`."""


class Likes(Record):
    """The extra states of all recorded saves."""

    format: int = FORMAT
    """Version of the file's format."""
    kinds: tuple[RecordedKind, ...]
    """The kinds."""
    saves: tuple[RecordedStates, ...]
    """The saves, by scenario."""

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


def describe(saves: Iterable[Save], checkpoint: Callable[[str], bytes | None]) -> Likes:
    """Return the extra states of saves.

    Saves of scenarios with another transport than ``torch.save`` are left out: their files are
    archives of another format, with the states of the scenario that they are derived from.

    :param checkpoint: returns the bytes of a checkpoint by their digest.
    :raises CheckpointError: a checkpoint cannot be read.
    """
    known = scenarios.load()
    numbers: dict[RecordedKind, int] = {}
    groups: _Groups = {}
    with tempfile.TemporaryDirectory() as folder:
        read = functools.cache(functools.partial(_read, checkpoint, Path(folder)))
        for save in saves:
            sized = known.get(save.scenario)
            if sized is None or sized.scenario.transport.distributed or save.file_digest is None:
                continue
            contents = read(save.file_digest)
            states = tuple(
                (key, numbers.setdefault(_known(kind, sized.scenario.module), len(numbers)))
                for key, kind in sorted(kinds.of_contents(contents), key=operator.itemgetter(0))
            )
            traits = tuple(sorted(map(str, telling.traits(contents))))
            groups.setdefault((save.scenario, states, traits), []).append(save)
    return Likes(kinds=tuple(numbers), saves=tuple(_rows(groups)))


def _read(checkpoint: Callable[[str], bytes | None], folder: Path, digest: str) -> Contents:
    data = checkpoint(digest)
    assert data is not None, f"checkpoint {digest} is not there"
    file = folder / "checkpoint.pt"
    file.write_bytes(data)
    return layout.find(file).read()


def _known(kind: Kind, module: str) -> RecordedKind:
    """Return the kind of a state with the module that it is known to be of.

    :param module: the scenario's module, which has no other module with a state inside, or is
        not one of those that a state can be of.
    """
    modules = kind.modules & {module} or kind.modules
    traits = kind.traits if ATTENTION in modules else kinds.without_style(kind.traits)
    return RecordedKind(traits=traits, modules=modules)


def _rows(groups: _Groups) -> Iterator[RecordedStates]:
    for (scenario, states, traits), saves in sorted(groups.items(), key=lambda item: item[0][0]):
        # Releases of the very same code share the record of one of them.
        digests = {save.source_digest for save in saves}
        same = (release for release in releases.load().releases if release.digest in digests)
        yield RecordedStates(
            scenario=scenario,
            savers=tuple(release.name for release in same),
            states=dict(states),
            traits=traits,
        )
