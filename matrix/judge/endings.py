"""What becomes of a checkpoint in a load: the only rule for what goes well.

Reports, explanations, release notes, data for other programs and ``inspect`` all ask here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Protocol

from matrix.catalogue import scenarios
from matrix.catalogue.state_keys import CORE_ATTENTION
from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    CellStatus,
    Outcome,
    Stage,
    Weights,
)
from matrix.checkpoint.kinds import ATTENTION
from matrix.judge.judgement import JudgedCell
from matrix.store.records import Save

_ORDER = tuple(CellStatus(word) for word in ("changed", "resets", "frozen", "unknown", "loads"))
"""The statuses of parts, the worst first."""


class SeenPart(Protocol):
    """What was seen of one part: a submodule that holds, or would hold, FP8 metadata."""

    @property
    def name(self) -> str:
        """Its name, the same in all releases."""

    @property
    def attention(self) -> bool:
        """Whether it computes attention."""

    @property
    def outcome(self) -> Outcome:
        """What became of its metadata."""

    @property
    def after_load(self) -> AfterLoad:
        """Whether training steps still update it."""


class SeenLoad(Protocol):
    """What was seen of one load, such as a cell of a report."""

    @property
    def variant(self) -> str:
        """Name of the variant."""

    @property
    def outcome(self) -> Outcome | Absence:
        """The outcome, or why there is none."""

    @property
    def after_load(self) -> AfterLoad:
        """Whether training steps still update the loaded metadata."""

    @property
    def stage(self) -> Stage | None:
        """The last step of the load that was begun."""

    @property
    def rest(self) -> Outcome | None:
        """What became of the parts other than the attention."""

    @property
    def rest_after_load(self) -> AfterLoad:
        """Whether training steps still update those."""

    @property
    def weights(self) -> Weights | None:
        """Whether parameters and buffers are the checkpoint's."""

    @property
    def parts(self) -> Sequence[SeenPart]:
        """Every part."""

    @property
    def held(self) -> Sequence[str]:
        """Names of the parts for which the saving module held more than defaults."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Judged:
    """What was seen in a judged cell."""

    variant: str
    outcome: Outcome | Absence
    after_load: AfterLoad
    stage: Stage | None
    rest: Outcome | None
    rest_after_load: AfterLoad
    weights: Weights | None
    parts: Sequence[SeenPart]
    held: Sequence[str]


def of_judged(judged: JudgedCell) -> Ending:
    """Return what became of the checkpoint in a judged cell."""
    result = judged.result
    return of(
        _Judged(
            variant=judged.cell.variant,
            outcome=judged.outcome,
            after_load=judged.after_load,
            stage=judged.stage,
            rest=result.rest if result else None,
            rest_after_load=result.rest_after_load if result else AfterLoad.UNTESTED,
            weights=result.weights if result else None,
            parts=result.parts if result else (),
            held=held_in(judged.save) if judged.save else (),
        )
    )


def held_in(save: Save) -> tuple[str, ...]:
    """Return the names of the parts for which a saving module held more than defaults."""
    return tuple(
        part.name
        for part in save.parts
        if any(not tensor.default for tensor in part.tensors.values())
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """What became of a checkpoint in a load."""

    status: CellStatus
    """In a word."""
    attention_given_up: bool = False
    """Whether attention's metadata is not there, as it was removed by name, or the loader has no
    place for it."""
    rest_given_up: bool = False
    """Whether that of other parts is not there, as the loader has no place for it."""
    dropped: bool = False
    """Whether attention's metadata starts at defaults, as it was removed by name."""
    lacks_recipe: bool = False
    """Whether it was seen as far as ``load_state_dict``, as the loader lacks the recipe."""
    untested: bool = False
    """Whether metadata was loaded, and no step was run that would update it."""

    @property
    def goes_well(self) -> bool:
        """Whether all is there that the loader has a place for, and goes on updating."""
        return self.status == CellStatus.LOADS


def of(load: SeenLoad) -> Ending:
    """Return what became of a checkpoint in a load."""
    if load.outcome == Outcome.ERROR:
        return Ending(CellStatus.FAILS)
    if not isinstance(load.outcome, Outcome):
        return Ending(CellStatus.UNKNOWN)
    if load.outcome == Outcome.PARTIAL or load.weights == Weights.CHANGED:
        return Ending(CellStatus.CHANGED)
    if load.stage not in (Stage.FIRST_STEP, None):
        return _unstepped(load)
    return _of_parts(list(_parts(load, load.outcome)))


def _unstepped(load: SeenLoad) -> Ending:
    """Return what became of a checkpoint in a loader that lacks the recipe, which tells no parts.

    What it holds was not seen to arrive, but for attention's, where that was removed by name.
    """
    drops = load.variant in _dropping()
    held = [name for name in load.held if not (drops and _is_attention(name))]
    status = CellStatus.UNKNOWN if held else CellStatus.LOADS
    return Ending(status, lacks_recipe=True, attention_given_up=len(held) < len(load.held))


def _is_attention(part: str) -> bool:
    return part.rpartition(".")[2] in (CORE_ATTENTION, ATTENTION)


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    outcome: Outcome
    after_load: AfterLoad
    attention: bool
    held: bool
    dropped: bool
    """Whether its state was removed by name."""

    @property
    def status(self) -> CellStatus:
        return part_status(self.outcome, self.after_load, held=self.held and not self.dropped)

    @property
    def given_up(self) -> bool:
        return self.held and (self.dropped or self.outcome == Outcome.NONE)

    @property
    def untested(self) -> bool:
        loaded = self.outcome == Outcome.LOADED
        return self.held and loaded and self.after_load == AfterLoad.UNTESTED


def _parts(load: SeenLoad, outcome: Outcome) -> Iterator[_Part]:
    """Yield the parts of a load; where none are told, what they came to together."""
    drops = load.variant in _dropping()
    for part in load.parts:
        held, dropped = part.name in load.held, part.attention and drops
        yield _Part(part.outcome, part.after_load, part.attention, held, dropped)
    if not load.parts:
        yield _Part(outcome, load.after_load, True, bool(load.held), drops)
        if load.rest is not None or load.rest_after_load != AfterLoad.UNTESTED:
            yield _Part(load.rest or Outcome.LOADED, load.rest_after_load, False, True, False)


@functools.cache
def _dropping() -> frozenset[str]:
    """Return the names of the variants in which the state of attention is always removed."""
    known = scenarios.variants().values()
    return frozenset(variant.name for variant in known if variant.drop_attention == "always")


def _of_parts(parts: Sequence[_Part]) -> Ending:
    return Ending(
        min((part.status for part in parts), key=_ORDER.index),
        attention_given_up=any(part.given_up and part.attention for part in parts),
        rest_given_up=any(part.given_up and not part.attention for part in parts),
        dropped=any(p.given_up and p.dropped and p.outcome != Outcome.NONE for p in parts),
        untested=any(part.untested for part in parts),
    )


def part_status(outcome: Outcome, after_load: AfterLoad, *, held: bool) -> CellStatus:
    """Return what became of the metadata of one part.

    :param held: whether the saving module held metadata for it that is not the default. Where it
        did, and ``outcome`` is ``none``, the loader has no place for it: nothing was lost that
        could be there.
    """
    if outcome == Outcome.PARTIAL:
        return CellStatus.CHANGED
    if held and outcome == Outcome.DEFAULTS:
        return CellStatus.RESETS
    return CellStatus.FROZEN if after_load == AfterLoad.FROZEN else CellStatus.LOADS
