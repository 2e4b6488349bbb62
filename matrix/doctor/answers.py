"""What a release does with one extra state of a checkpoint: what was seen of its like."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from matrix.catalogue import features
from matrix.catalogue.releases import Release
from matrix.checkpoint import kinds
from matrix.checkpoint.kinds import ATTENTION, Kind, without_style
from matrix.doctor.likes import Likes, RecordedKind, RecordedStates
from matrix.doctor.sightings import Assumed, Blame, LoadStatus, Sighting, Sightings

_ORDER = (
    LoadStatus.FAILS,
    LoadStatus.RESETS,
    LoadStatus.FROZEN,
    LoadStatus.DEPENDS,
    LoadStatus.UNKNOWN,
    LoadStatus.LOADS,
)

ENOUGH = 2
"""Number of states that have to agree for others to be taken for alike."""


def worst(statuses: Collection[LoadStatus]) -> LoadStatus:
    """Return the status of a whole from those of its parts."""
    return min(statuses, key=_ORDER.index)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a release does with one extra state."""

    status: LoadStatus
    detail: str = ""
    sighting: Sighting | None = None
    """The load in which that was seen."""
    blames: tuple[Blame, ...] = ()
    """Loads that raised an exception for this state or for another one in the same checkpoint."""
    no_place: bool = False
    """Whether every load showed that the release has no place for its metadata."""


class Answers:
    """Answers for the states of one checkpoint.

    :param savers: names of the releases that can have written it.
    """

    def __init__(self, sightings: Sightings, savers: Collection[str]) -> None:
        self._sightings = sightings
        self._savers = frozenset(savers)
        self._known: dict[tuple[int, str, str, Assumed, bool], Answer | None] = {}
        self._numbers: dict[Kind, list[int]] = {}
        self._differing: dict[Kind, str] = {}

    def of(self, kind: Kind, loader: Release, variant: str, assumed: Assumed) -> Answer:
        """Return what a release does with a state of a kind."""
        found = self._seen(kind, loader, variant, assumed)
        return found or self._by_rule(kind, loader, variant, assumed)

    def numbers(self, kind: Kind) -> list[int]:
        """Return the recorded kinds that a state is like, as indices."""
        if kind not in self._numbers:
            self._numbers[kind] = self._sightings.likes.of(kind)
        return self._numbers[kind]

    # What was seen of the very same.

    def _seen(self, kind: Kind, loader: Release, variant: str, assumed: Assumed) -> Answer | None:
        """Return the answer of a state's likes; None if there is no evidence on any."""
        found: dict[int, Answer] = {}
        for number in self.numbers(kind):
            if answer := self._of_number(number, loader, variant, assumed):
                found[number] = answer
        if not found:
            return None
        statuses = {answer.status for answer in found.values()}
        if len(statuses) == 1 or len(found) == 1:
            no_place = all(answer.no_place for answer in found.values())
            return dataclasses.replace(next(iter(found.values())), no_place=no_place)
        return Answer(LoadStatus.DEPENDS, _by_module(self._sightings.likes, found))

    def _of_number(
        self, number: int, loader: Release, variant: str, assumed: Assumed, *, alone: bool = False
    ) -> Answer | None:
        """Return the answer for a recorded kind.

        :param alone: look at loads only that tell it without any other.
        """
        place = number, loader.name, variant, assumed, alone
        if place not in self._known:
            self._known[place] = self._look_up(number, loader, variant, assumed, alone)
        return self._known[place]

    def _look_up(
        self, number: int, loader: Release, variant: str, assumed: Assumed, alone: bool
    ) -> Answer | None:
        """Return what is told by checkpoints as they were saved, or else by rewritten ones."""
        rows = self._sightings.rows(number, assumed, variant)
        saved = self._in_rows(number, loader, variant, assumed, alone, rows)
        if saved is not None and saved.status != LoadStatus.UNKNOWN:
            return saved
        rows = self._sightings.rows(number, assumed, variant, rewritten=True)
        rewritten = self._in_rows(number, loader, variant, assumed, alone, rows)
        if rewritten is not None and rewritten.status != LoadStatus.UNKNOWN:
            return rewritten
        if saved is not None and not alone:
            return self._with_other_history(number, saved, loader, variant, assumed)
        return saved or rewritten

    def _with_other_history(
        self, number: int, answer: Answer, loader: Release, variant: str, assumed: Assumed
    ) -> Answer:
        """Return that a state fails, if one that differs in its length fails alone with the error
        of which it was not clear which of several states raised it."""
        every = self._sightings.likes.kinds
        for other, row in enumerate(every):
            if other == number or not _same_but_history(row, every[number]):
                continue
            found = self._of_number(other, loader, variant, assumed, alone=True)
            if found is None or found.sighting is None or found.status != LoadStatus.FAILS:
                continue
            for blame in answer.blames:
                if _error(blame.sighting) == _error(found.sighting):
                    return Answer(LoadStatus.FAILS, blame.sighting.detail, blame.sighting)
        return answer

    def _in_rows(
        self,
        number: int,
        loader: Release,
        variant: str,
        assumed: Assumed,
        alone: bool,
        every: Iterable[Sequence[RecordedStates]],
    ) -> Answer | None:
        seen: dict[str, Sighting] = {}
        blames: dict[str, list[Blame]] = {}
        for rows in every:
            for row in rows:
                for saver in self._chosen(number, row):
                    for found in self._sightings.of(number, row, saver, loader, variant):
                        if isinstance(found, Sighting):
                            seen[saver.name] = _worse(seen.get(saver.name), found)
                        elif not alone and self._is_to_blame(number, found, loader, assumed):
                            seen[saver.name] = found.sighting
                        else:
                            blames.setdefault(saver.name, []).append(found)
            if seen and blames.keys() <= seen.keys():
                break
        quantized = bool(self._sightings.likes.kinds[number].traits.weights)
        return self._together(seen, blames, quantized=quantized) if seen or blames else None

    def _is_to_blame(self, number: int, blame: Blame, loader: Release, assumed: Assumed) -> bool:
        """Return whether a load raised for a state, as all others beside it are seen to load."""
        others = blame.kinds - {number}
        return all(self._loads(other, loader, blame.variant, assumed) for other in others)

    def _together(
        self, seen: dict[str, Sighting], blames: dict[str, list[Blame]], *, quantized: bool
    ) -> Answer:
        """Return the answer from what was seen of several savers' states.

        :param quantized: whether they are of modules with quantized weights.
        """
        unclear = {name: found for name, found in blames.items() if name not in seen}
        statuses = {sighting.status for sighting in seen.values()}
        order = [name for name in self._sightings.releases if name in seen]
        # That a load raised for one of several states agrees with what was seen to fail. It says
        # nothing of a state that others are seen to load, but where weights are quantized: their
        # pickles may differ in what is not told of the state beside them.
        agreeing = {LoadStatus.FAILS} if quantized else {LoadStatus.FAILS, LoadStatus.LOADS}
        if len(statuses) == 1 and (not unclear or statuses <= agreeing):
            last = seen[order[-1]]
            no_place = all(sighting.no_place for sighting in seen.values())
            return Answer(last.status, last.detail, last, no_place=no_place)
        if not seen:
            every = tuple(blame for found in unclear.values() for blame in found)
            return Answer(LoadStatus.UNKNOWN, _one_of(every[0]), blames=every)
        told = [f"saved by {name}: {seen[name].status.value}" for name in order]
        told += [f"saved by {name}: {LoadStatus.UNKNOWN.value}" for name in unclear]
        return Answer(LoadStatus.DEPENDS, "; ".join(told))

    def _chosen(self, number: int, row: RecordedStates) -> Iterator[Release]:
        """Yield the savers of a row that can have written the checkpoint.

        All of them, if none of those that saved such states can: it was said to be another. And all
        of a row that was rewritten, by which nothing tells who saved it.
        """
        if row.variant:
            yield from (self._sightings.releases[name] for name in row.savers)
            return
        known = self._sightings.savers(number) & self._savers
        for name in row.savers:
            if not known or name in known:
                yield self._sightings.releases[name]

    def _loads(self, number: int, loader: Release, variant: str, assumed: Assumed) -> bool:
        answer = self._of_number(number, loader, variant, assumed, alone=True)
        return answer is not None and answer.status == LoadStatus.LOADS

    # What follows from others.

    def _by_rule(self, kind: Kind, loader: Release, variant: str, assumed: Assumed) -> Answer:
        """Return what all states agree on that differ in the number of scales only.

        Two numbers that were seen to do the same stand for every number.
        """
        found = [
            self._seen(other, loader, variant, assumed) for other in self._with_other_slots(kind)
        ]
        statuses = {answer.status if answer else LoadStatus.UNKNOWN for answer in found}
        first = found[0] if found else None
        if len(found) < ENOUGH or len(statuses) > 1 or first is None or first.sighting is None:
            told = _without_module(kind, loader) or self._lacking(kind)
            return Answer(LoadStatus.UNKNOWN, told)
        return first

    def _with_other_slots(self, kind: Kind) -> Iterator[Kind]:
        """Yield kinds with the numbers of scales that modules are seen with, but attention."""
        if not _any_number(kind):
            return
        for row in self._sightings.likes.kinds:
            if row.traits.slots is not None and ATTENTION not in row.modules:
                traits = dataclasses.replace(kind.traits, slots=row.traits.slots)
                if without_style(traits) == without_style(row.traits):
                    yield dataclasses.replace(kind, traits=traits, modules=row.modules)

    def _lacking(self, kind: Kind) -> str:
        """Return what of a state no scenario has, as text."""
        if kind not in self._differing:
            self._differing[kind] = _differences(self._sightings.likes, kind)
        return self._differing[kind]


def _without_module(kind: Kind, loader: Release) -> str:
    """Return that a release has none of the modules that a state can be of, if so."""
    known = features.load().modules
    rows = [known[name] for name in sorted(kind.modules) if name in known]
    if not rows or any(row.is_in(loader) for row in rows):
        return ""
    since = " or ".join(f"{row.name}, which is there from {row.since} on" for row in rows)
    return f"this release has no {since}"


def _same_but_history(one: RecordedKind, other: RecordedKind) -> bool:
    same = dataclasses.replace(one.traits, history=other.traits.history)
    return one.modules == other.modules and same == other.traits


def _error(sighting: Sighting) -> tuple[object, ...]:
    failure = sighting.error
    return (sighting.stage, failure.type, failure.message) if failure else ()


def _any_number(kind: Kind) -> bool:
    """Return whether a state can be of a module that chooses its number of scales."""
    return any(row.gemms == "any" and row.module in kind.modules for row in kinds.modules())


def _worse(one: Sighting | None, other: Sighting) -> Sighting:
    return other if one is None or worst((one.status, other.status)) != one.status else one


def _one_of(blame: Blame) -> str:
    return (
        f"{blame.sighting.detail}, in scenario {blame.sighting.scenario}: "
        "for this state, or for another one beside it"
    )


def _by_module(known: Likes, found: dict[int, Answer]) -> str:
    told = {
        f"as {' or '.join(sorted(known.kinds[number].modules))}: {answer.status.value}"
        for number, answer in found.items()
    }
    return "; ".join(sorted(told))


def _differences(known: Likes, kind: Kind) -> str:
    if not kind.modules:
        return "no module of Transformer Engine is known to save such a state"
    own = dataclasses.asdict(kind.traits)
    nearest: dict[str, Any] = own
    for row in known.kinds:
        theirs = dataclasses.asdict(row.traits)
        differing = {name: value for name, value in theirs.items() if value != own[name]}
        if row.modules & kind.modules and len(differing) < len(nearest):
            nearest = differing
    if not nearest:
        return "nothing was seen of such a state in this release, loaded like that"
    told = (f"{name.replace('_', ' ')} {own[name]}, not {nearest[name]}" for name in nearest)
    return f"no scenario has such a state; the nearest differs in {'; '.join(told)}"
