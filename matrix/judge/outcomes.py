"""The outcome of a load: what became of the metadata of every part, from the records."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from packaging.version import Version

from matrix.catalogue.words import (
    AfterLoad,
    Deviation,
    Outcome,
    RestState,
    SaveOutcome,
    Stage,
    Undocumented,
    Weights,
)
from matrix.store.records import Load, Moved, Part, Save, Tensor

RECIPES_SINCE = Version("2.0")
"""The first release whose extra states contain the recipe; see ``forms.toml``."""


@dataclasses.dataclass(frozen=True)
class PartResult:
    """What became of the FP8 metadata of one part."""

    name: str
    """Name of the part that is the same in all releases."""
    attention: bool
    """Whether the part computes attention."""
    held: bool
    """Whether the saving module held metadata for it that is not the default."""
    outcome: Outcome
    """What became of it; never ``error``, which is of a load as a whole."""
    resized: bool
    """Whether its amax histories were cut or extended with zeros, and agree otherwise."""
    after_load: AfterLoad
    """Whether training steps still update it."""
    flaws: tuple[str, ...]
    """Why the outcome is ``partial``, one sentence each."""


@dataclasses.dataclass(frozen=True)
class LoadResult:
    """What became of a load: of the attention, of the other parts, and of the weights."""

    outcome: Outcome
    """Of the attention's metadata, or of all metadata in a module without attention;
    ``partial`` also where weights or the state dict changed."""
    after_load: AfterLoad
    """Whether training steps still update that metadata."""
    resized: bool
    """Whether its amax histories were cut or extended."""
    rest: Outcome | None
    """Of the other parts that the checkpoint holds something for; None where there are none."""
    rest_after_load: AfterLoad
    """Whether training steps still update those."""
    weights: Weights | None
    """Whether parameters and buffers are the checkpoint's; None where the load failed."""
    spoilt: bool
    """Whether the checkpoint is not what the saving module held."""
    parts: tuple[PartResult, ...]
    """Every part."""
    flaws: tuple[str, ...]
    """Why the outcome, or that of the other parts, is ``partial``, one sentence each."""

    @property
    def rest_state(self) -> RestState:
        """What became of the other parts, in one word."""
        return RestState.of(self.rest, self.rest_after_load)

    def deviations(self, documented: Outcome | Undocumented) -> list[Deviation]:
        """Return in what the load differs from a documented outcome."""
        return deviations(
            documented, self.outcome, self.after_load, self.rest_state, self.weights, self.spoilt
        )


def deviations(
    documented: Outcome | Undocumented,
    outcome: Outcome,
    after_load: AfterLoad,
    rest: RestState,
    weights: Weights | None,
    spoilt: bool,
) -> list[Deviation]:
    """Return in what a load differs from a documented outcome, the outcome itself first."""
    if outcome == Outcome.PARTIAL and weights == Weights.CHANGED:
        own = Deviation.WEIGHTS
    else:
        own = Deviation(outcome.value)
    found = {
        own: outcome != documented,
        Deviation.FROZEN: after_load == AfterLoad.FROZEN,
        Deviation.REST: rest == RestState.LOST,
        # Where the attention is frozen too, that says it.
        Deviation.REST_FROZEN: rest == RestState.FROZEN and after_load != AfterLoad.FROZEN,
        Deviation.SPOILT: spoilt,
    }
    return [deviation for deviation, applies in found.items() if applies]


def result(save: Save, load: Load, *, attends: bool = True) -> LoadResult:
    """Return what became of a load, held against what the saving module held.

    :param attends: whether the module computes attention. Otherwise all parts are judged
        together, and there is no rest.
    """
    spoilt = save.outcome == SaveOutcome.SPOILT
    if load.error is not None:
        untested = AfterLoad.UNTESTED
        return LoadResult(Outcome.ERROR, untested, False, None, untested, None, spoilt, (), ())
    # A loader without the recipe stops after load_state_dict: nothing is known of its parts.
    parts = tuple(_parts(save, load)) if load.stage == Stage.FIRST_STEP else ()
    judged = [part for part in parts if part.attention or not attends]
    rest = [part for part in parts if part.held and attends and not part.attention]
    whole = [
        *(f"the load changed {key} of the caller's state dict" for key in load.changed_keys),
        *(f"{key} is not the checkpoint's" for key in load.changed_weights),
        *_differing_output(load),
    ]
    return LoadResult(
        outcome=Outcome.PARTIAL if whole else _together(judged),
        after_load=_slowest(judged),
        resized=any(part.resized for part in judged),
        rest=_together(rest) if rest else None,
        rest_after_load=_slowest(rest),
        weights=Weights.CHANGED if load.changed_weights else Weights.EQUAL,
        spoilt=spoilt,
        parts=parts,
        flaws=(*whole, *_apart(judged), *(flaw for part in parts for flaw in part.flaws)),
    )


def _parts(save: Save, load: Load) -> Iterator[PartResult]:
    saved = {part.name: part for part in save.parts}
    found = {part.name: part for part in load.parts}
    moved = {part.name: part for part in load.after_load or ()}
    lost_recipes = _lost_recipes(load)
    for name in {**saved, **found}:
        yield part_result(saved.get(name), found.get(name), moved.get(name), lost_recipes)


def part_result(
    saved: Part | None, found: Part | None, moved: Moved | None, lost_recipes: Sequence[str]
) -> PartResult:
    """Return what became of one part: at least one of ``saved`` and ``found`` is given.

    :param saved: the part as the checkpoint holds it; None where it holds nothing.
    :param found: the part as it is before the first step after the load.
    :param moved: what that step changed.
    :param lost_recipes: paths of modules that do not hold the recipe of their saved state.
    """
    part = found or saved
    assert part is not None
    before = saved.tensors if saved else {}
    after = found.tensors if found else {}
    held = any(not tensor.default for tensor in before.values())
    flaws: list[str] = []
    if not after:
        outcome = Outcome.NONE
    elif all(tensor.default for tensor in after.values()):
        outcome = Outcome.DEFAULTS
    else:
        flaws = [
            f"{part.name}: {tensor} is not the checkpoint's" for tensor in _differing(after, before)
        ]
        if part.path in lost_recipes:
            flaws.append(f"{part.path}: the recipe is not the checkpoint's")
        outcome = Outcome.PARTIAL if flaws else Outcome.LOADED
    resized = outcome == Outcome.LOADED and any(tensor.resized for tensor in after.values())
    return PartResult(
        part.name, part.attention, held, outcome, resized, _after_load(moved), tuple(flaws)
    )


def _together(parts: Sequence[PartResult]) -> Outcome:
    """Return the outcome of several parts: what they agree on, else ``partial``."""
    outcomes = {part.outcome for part in parts}
    if not outcomes:
        return Outcome.NONE
    return outcomes.pop() if len(outcomes) == 1 else Outcome.PARTIAL


def _apart(parts: Sequence[PartResult]) -> list[str]:
    """Return what the parts came to, where that makes the whole ``partial``."""
    if len({part.outcome for part in parts}) < 2:
        return []
    return [f"{part.name}: {part.outcome.value}" for part in parts]


def _differing(found: dict[str, Tensor], saved: dict[str, Tensor]) -> list[str]:
    """Return the tensors that are not the saved ones; the same for fewer or more of them."""
    # Releases from 2.0 on have no scale_inv, so that one side may lack it.
    shared = found.keys() & saved.keys()
    needed = {name for name in found if not name.endswith("scale_inv")}
    return sorted(
        name
        for name in needed | shared
        if name not in shared
        or not (found[name].resized or found[name].digest == saved[name].digest)
    )


def _lost_recipes(load: Load) -> Sequence[str]:
    # Releases before 2.0 do not save the recipe.
    old = Version(load.release.partition("@")[0]) < RECIPES_SINCE
    return () if old else load.lost_recipes


def _differing_output(load: Load) -> list[str]:
    if load.output is None or load.output.same:
        return []
    difference, largest = load.output.largest_difference, load.output.largest
    return [f"its output differs from the saving module's by {difference:g} of {largest:g}"]


def _after_load(moved: Moved | None) -> AfterLoad:
    """Return whether one training step rolled every amax history and moved every scale."""
    if moved is None or not moved.moved:
        return AfterLoad.UNTESTED
    return AfterLoad.UPDATES if all(moved.moved.values()) else AfterLoad.FROZEN


def _slowest(parts: Iterable[PartResult]) -> AfterLoad:
    """Return ``frozen`` if any part is, else ``updates`` if any was tested."""
    found = {part.after_load for part in parts}
    for state in (AfterLoad.FROZEN, AfterLoad.UPDATES):
        if state in found:
            return state
    return AfterLoad.UNTESTED
