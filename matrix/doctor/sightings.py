"""What the evidence shows of one kind of extra state in one release that loads it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matrix.catalogue import features, releases, scenarios
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import DELAYED, SizedScenario, class_of
from matrix.catalogue.state_keys import EXTRA_STATE, state_key
from matrix.catalogue.words import CellStatus, Lane, Outcome, RunnerName, Stage, Word
from matrix.checkpoint.states import FUSED_ATTENTION
from matrix.doctor import likes
from matrix.doctor.likes import RecordedStates
from matrix.judge import endings
from matrix.judge.evidence import Absent, UsableEvidence
from matrix.judge.outcomes import LoadResult, PartResult
from matrix.plan.cells import Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.records import Failure, Load, Save
from matrix.store.store import Store

LANE = Lane.CPU
HISTORY = 1024
"""Transformer Engine's default of ``amax_history_len``, in ``common/recipe``."""
_HISTORY_FIELD = "amax_history_len"


class LoadStatus(Word):
    """What a release does with a checkpoint, or with one extra state of it."""

    LOADS = "loads"
    """It loads it with all that it holds, or there was nothing to lose."""
    FROZEN = "frozen"
    """It loads metadata that no later step updates."""
    RESETS = "resets"
    """It loads it, and silently loses something: metadata starts at defaults, or what is there
    is not the checkpoint's."""
    FAILS = "fails"
    """It raises an exception."""
    DEPENDS = "depends"
    """That depends on something that the checkpoint does not tell, such as its saver."""
    UNKNOWN = "unknown"
    """No evidence covers it."""


@dataclasses.dataclass(frozen=True)
class Assumed:
    """What is assumed of the recipe that a release loads with."""

    recipe: str | None = None
    """Its class; None for the one that the checkpoint was saved with."""
    history: int = HISTORY
    """Its ``amax_history_len``, where it is delayed scaling."""

    def admits(self, scenario: SizedScenario) -> bool:
        """Return whether a scenario loads as assumed, and otherwise as a user would."""
        chosen, transport = scenario.scenario, scenario.scenario.transport
        if transport.distributed or transport.weights_only or not transport.strict:
            return False
        if not chosen.uses_recipe:
            return True
        loads = class_of(chosen.load_recipe)
        if loads != (self.recipe or class_of(chosen.save_recipe)):
            return False
        return loads != DELAYED or history_of(chosen.load_recipe) == self.history


def history_of(recipe: dict[str, object]) -> int:
    """Return the ``amax_history_len`` of a scenario's recipe."""
    length = recipe.get(_HISTORY_FIELD, HISTORY)
    assert isinstance(length, int)
    return length


@dataclasses.dataclass(frozen=True)
class Sighting:
    """What became of one extra state in one load."""

    status: LoadStatus
    detail: str
    scenario: str
    saver: str
    error: Failure | None = None
    stage: Stage | None = None
    keys: bool = False
    """Whether it failed for keys that are missing or unexpected, not for what they hold."""
    lossless: bool = False
    """Whether a state that holds nothing but defaults lost nothing."""
    no_place: bool = False
    """Whether its metadata is not there, as the release has no place for it."""


@dataclasses.dataclass(frozen=True)
class Blame:
    """A load that raised an exception for one of several kinds of states, without saying which."""

    kinds: frozenset[int]
    """The kinds of all states in the checkpoint, as indices into ``Likes.kinds``."""
    sighting: Sighting
    variant: str


class _Seen(NamedTuple):
    """What became of one state in a load that raised no exception; see :class:`Sighting`."""

    status: LoadStatus
    detail: str = ""
    lossless: bool = False
    no_place: bool = False


class Sightings:
    """Finds what became of the states of a kind, in all scenarios that hold such states.

    :param store: evidence in addition to what is recorded, or None.
    """

    def __init__(self, store: Store | None) -> None:
        self.likes = likes.load(LANE)
        self.releases = {release.name: release for release in releases.load().releases}
        self._scenarios = scenarios.load()
        self._variants = scenarios.variants()
        every = tuple(self.releases.values())
        plan = Plan(
            lane=LANE,
            runner=RunnerName.LOCAL,
            scenarios=self._scenarios,
            variants=self._variants,
            savers=every,
            loaders=every,
            cells=(),
            whole=False,
            controlled=(),
        )
        self._evidence = UsableEvidence(EvidenceIndex(plan, store, recorded.evidence(LANE)))
        self._rows: dict[int, list[RecordedStates]] = {}
        for row in self.likes.saves:
            for number in set(row.states.values()):
                self._rows.setdefault(number, []).append(row)

    def savers(self, kind: int) -> frozenset[str]:
        """Return the names of the releases that saved a kind of state."""
        rows = (row for row in self._rows.get(kind, ()) if not row.variant)
        return frozenset(name for row in rows for name in row.savers)

    @functools.cached_property
    def histories(self) -> frozenset[tuple[int, int]]:
        """The lengths of amax histories, of the saver's recipe and of the loader's."""
        recipes = (
            (sized.scenario.save_recipe, sized.scenario.load_recipe)
            for sized in self._scenarios.values()
            if sized.scenario.uses_recipe
        )
        return frozenset(
            (history_of(saved), history_of(loaded))
            for saved, loaded in recipes
            if class_of(saved) == class_of(loaded) == DELAYED
        )

    def rows(
        self, kind: int, assumed: Assumed, variant: str, *, rewritten: bool = False
    ) -> list[list[RecordedStates]]:
        """Return the saves with a kind of state, as they are or rewritten, scenario by scenario.

        Those whose states are of fewest kinds come first: their loads tell most of each. Modules
        with quantized weights are looked up where weights are quantized, and no others there,
        except for variants in which quantized weights change.
        """
        by_scenario: dict[str, list[RecordedStates]] = {}
        way = self._variants.get(variant)
        changed = way is not None and way.weights is not None
        quantized = changed or bool(self.likes.kinds[kind].traits.weights)
        for row in self._rows.get(kind, ()):
            sized = self._scenarios[row.scenario]
            if bool(row.variant) != rewritten or self._is_quantized(row) != quantized:
                continue
            if assumed.admits(sized):
                by_scenario.setdefault(row.scenario, []).append(row)
        return sorted(by_scenario.values(), key=_kinds)

    def _is_quantized(self, row: RecordedStates) -> bool:
        """Return whether the model that loads a checkpoint has quantized weights."""
        way = self._variants.get(row.variant)
        plain = way is not None and way.model == "plain"
        weights = self._scenarios[row.scenario].scenario.weights
        return not plain and weights != "high-precision"

    def _shown_by(self, row: RecordedStates, variant: str, loader: Release) -> str | None:
        """Return the variant that shows how a release loads a checkpoint; None where none does.

        A release that loads a rewritten checkpoint as it is does what it did in the variant that
        rewrote it.

        :param variant: how the checkpoint is loaded.
        """
        if not row.variant:
            return variant
        if loader.name not in row.loaders:
            return None
        opted_in = bool(loader.opt_in) and self._variants[row.variant].opt_in != "never"
        return row.variant if variant == ("trusted" if opted_in else "plain") else None

    def of(
        self, kind: int, row: RecordedStates, saver: Release, loader: Release, variant: str
    ) -> Iterator[Sighting | Blame]:
        """Yield what became of the states of a kind in one load; nothing where that is not told."""
        shown_by = self._shown_by(row, variant, loader)
        found = self._load(row.scenario, saver.name, loader.name, shown_by) if shown_by else None
        if found is None:
            return
        save, load, result = found
        seen = functools.partial(Sighting, scenario=row.scenario, saver=saver.name)
        failed = functools.partial(seen, error=load.error, stage=load.stage)
        if load.error is None:
            for key in (key for key, number in row.states.items() if number == kind):
                part = _of_part(key, save, load, result)
                if row.variant and part.lossless and self.likes.kinds[kind].traits.slots is None:
                    part = _Seen(LoadStatus.LOADS)  # it was given up before
                if load.stage != Stage.FIRST_STEP and not part.detail:
                    part = part._replace(detail=_lacking(self._scenarios[row.scenario]))
                yield seen(**part._asdict())
        elif load.missing_keys or load.unexpected_keys:
            keys = [key for key, number in row.states.items() if number == kind]
            if any(_concerns(key, load) for key in keys):
                yield failed(LoadStatus.FAILS, load.error.line, keys=True)
        else:
            message = " ".join(load.error.message.split())
            detail = f"{load.error.type} at {load.stage.value}: {message}"
            sighting = failed(LoadStatus.FAILS, detail)
            kinds = frozenset(row.states.values())
            yield sighting if len(kinds) == 1 else Blame(kinds, sighting, variant)

    @functools.cache  # noqa: B019  # lives as long as its evidence
    def _load(
        self, scenario: str, saver: str, loader: str, variant: str
    ) -> tuple[Save, Load, LoadResult] | None:
        saved = self._evidence.save(scenario, self.releases[saver])
        if isinstance(saved, Absent):
            return None
        loaded = self._evidence.load(
            scenario, variant, saved, self.releases[saver], self.releases[loader]
        )
        if isinstance(loaded, Absent):
            return None
        save, load = saved.records[0], loaded.records[0]
        return save, load, self._evidence.result(save, load)


@functools.cache
def recorded_only() -> Sightings:
    """Return what the recorded evidence alone shows, which is read once."""
    return Sightings(None)


def _kinds(rows: Sequence[RecordedStates]) -> tuple[int, str]:
    return max(len(set(row.states.values())) for row in rows), rows[0].scenario


def _concerns(key: str, load: Load) -> bool:
    """Return whether the keys that a load misses or does not expect are about one state."""
    path = _path(key)
    deeper = state_key(f"{path}.{FUSED_ATTENTION}".lstrip("."))
    higher = state_key(path.removesuffix(FUSED_ATTENTION).removesuffix("."))
    return key in load.unexpected_keys or not {key, deeper, higher}.isdisjoint(load.missing_keys)


def _path(key: str) -> str:
    return key.removesuffix(EXTRA_STATE).removesuffix(".")


def _of_part(key: str, save: Save, load: Load, result: LoadResult) -> _Seen:
    """Return what became of one state in a load that raised no exception."""
    path = _path(key)
    changed = [name for name in load.changed_weights if name.rpartition(".")[0] == path]
    if changed:
        detail = f"{', '.join(changed)} is not the checkpoint's after the load"
        return _Seen(LoadStatus.RESETS, detail)
    name = next((part.name for part in save.parts if part.path == path), None)
    part = next((part for part in result.parts if part.name == name), None)
    if load.stage != Stage.FIRST_STEP:
        held = any(part.path == path and part.tensors for part in save.parts)
        return _Seen(LoadStatus.UNKNOWN if held else LoadStatus.LOADS)
    return _seen_of(part) if part else _Seen(LoadStatus.LOADS)


def _lacking(sized: SizedScenario) -> str:
    """Return why a load stopped before the first step."""
    recipe = features.load().recipe(class_of(sized.scenario.load_recipe))
    return (
        f"this release lacks the recipe {recipe.name}, which is there from {recipe.since} on: it "
        "was seen as far as load_state_dict"
    )


def _seen_of(part: PartResult) -> _Seen:
    if part.held and part.outcome == Outcome.NONE:
        detail = "nothing of its scales and amaxes is kept"
        return _Seen(LoadStatus.RESETS, detail, lossless=True, no_place=True)
    match endings.part_status(part.outcome, part.after_load, held=part.held):
        case CellStatus.CHANGED:
            return _Seen(LoadStatus.RESETS, "; ".join(part.flaws))
        case CellStatus.RESETS:
            detail = "its scales become 1, its amaxes 0"
            return _Seen(LoadStatus.RESETS, detail, lossless=True)
        case CellStatus.FROZEN:
            detail = "its scales and amaxes load, and no later step updates them"
            return _Seen(LoadStatus.FROZEN, detail)
    resized = "its amax history gets the length that the recipe says" if part.resized else ""
    return _Seen(LoadStatus.LOADS, resized)
