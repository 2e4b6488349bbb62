"""What a release's own code does with the extra states of a checkpoint, in the cpu lane.

The release never unpickles the checkpoint: its states are decoded, written anew from their
values, and loaded strictly into a model that has a small module at the place of each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import struct
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from packaging.version import Version

from matrix.catalogue import features
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import Scenario, Size, SizedScenario, class_of
from matrix.catalogue.words import AfterLoad, Lane, Outcome, Stage
from matrix.checkpoint import copies
from matrix.checkpoint.copies import Uncopied
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds
from matrix.doctor import places as asking
from matrix.doctor.places import Place, Places
from matrix.doctor.sightings import Assumed, LoadStatus
from matrix.errors import MatrixError
from matrix.judge import outcomes
from matrix.judge.outcomes import PartResult
from matrix.lane.local import LocalRunner
from matrix.lane.process import ReleaseProcess
from matrix.lane.protocol import NOT_EMULATED, LoadAnswer, WorkerFailure
from matrix.lane.sources import FetchedSources, cache_folder, prepare_cache
from matrix.store.records import Part, Tensor
from matrix.system import cleanup

_TIMEOUT = 300.0
_SIZE = Size(hidden_size=64, attention_heads=4)
_MODES = {"fwd": "forward", "bwd": "backward"}
_WORST = (
    LoadStatus.FAILS,
    LoadStatus.RESETS,
    LoadStatus.FROZEN,
    LoadStatus.UNKNOWN,
    LoadStatus.LOADS,
)


UNTESTED = "no step that would update it was tried"
"""Part of what is said of metadata in releases without a function that updates it, up to 1.5."""


@dataclasses.dataclass(frozen=True)
class StateAnswer:
    """What a release did with one extra state, and does with those that it stands for."""

    key: str
    """The key of the state in the checkpoint."""
    alike: int
    """Number of states that it stands for, itself included."""
    status: LoadStatus
    detail: str = ""
    """The error, or what became of the metadata otherwise."""


@dataclasses.dataclass(frozen=True)
class LiveAnswer:
    """What a release did with the extra states of a checkpoint."""

    release: str
    states: tuple[StateAnswer, ...]
    missing: tuple[str, ...] = ()
    """Keys that strict loading missed; of states that are alike, those of one or two."""
    unexpected: tuple[str, ...] = ()
    """Keys that strict loading did not expect, likewise."""
    unasked: tuple[str, ...] = ()
    """What was not asked, one sentence each."""
    error: str = ""
    """The error of loading all states at once; empty where that went through."""

    @property
    def status(self) -> LoadStatus:
        """The worst of the states' answers; ``unknown`` if nothing was asked."""
        found = {state.status for state in self.states}
        if self.error:
            return LoadStatus.FAILS
        if self.unasked:
            found.add(LoadStatus.UNKNOWN)
        return next((status for status in _WORST if status in found), LoadStatus.UNKNOWN)

    @property
    def detail(self) -> str:
        """The error, or what became of the first of the states that came out worst."""
        if self.error:
            return self.error
        worst = self.status
        details = (f"{s.key}: {s.detail}" for s in self.states if s.status == worst and s.detail)
        return next(details, "; ".join(self.unasked) if worst == LoadStatus.UNKNOWN else "")


class LiveReleases:
    """Releases in the cpu lane, one process at a time. Leaving the context ends it.

    :param sources: where to obtain their code.
    :param allowed: names beside Transformer Engine's own that extra states may hold.
    """

    def __init__(self, sources: FetchedSources, allowed: Collection[str] = ()) -> None:
        self._sources = sources
        self._allowed = allowed
        self._process: ReleaseProcess | None = None

    def __enter__(self) -> Self:
        prepare_cache()
        self._runner = LocalRunner(cache_folder() / "logs")
        self._runner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        self._runner.__exit__(*error)

    def _end(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _opened(self, release: Release) -> ReleaseProcess:
        if self._process is None or self._process.release.name != release.name:
            self._end()
            source = self._sources.get(release)
            self._process = self._runner.open(release, source, Lane.CPU)
        return self._process

    def ask(
        self,
        release: Release,
        places: Places,
        opt_in: str | None = None,
        assumed: Assumed | None = None,
    ) -> LiveAnswer:
        """Have a release load the states at some places, and take a step with them.

        :param opt_in: environment variable to set.
        :param assumed: the recipe that it loads with; by default the one of each state.
        :raises MatrixError: the release's code cannot be had, or not run.
        """
        try:
            asked = _Asking(self._opened(release), opt_in, self._allowed, assumed)
            for model in places.models():
                asked.load(model)
        except MatrixError:
            self._end()
            raise
        return asked.answer(places.unasked)


class _Asking:
    """The loads of one checkpoint by one release, and what came of them."""

    def __init__(
        self,
        process: ReleaseProcess,
        opt_in: str | None,
        allowed: Collection[str],
        assumed: Assumed | None,
    ) -> None:
        self._assumed = assumed
        self._process = process
        self._release = process.release
        self._opt_in = opt_in
        self._allowed = allowed
        self._answers: list[StateAnswer] = []
        self._missing: list[str] = []
        self._unexpected: list[str] = []
        self._unasked: list[str] = []
        self._error = ""

    def answer(self, unasked: Sequence[str]) -> LiveAnswer:
        return LiveAnswer(
            self._release.name,
            tuple(self._answers),
            tuple(dict.fromkeys(self._missing)),
            tuple(dict.fromkeys(self._unexpected)),
            (*unasked, *self._unasked),
            self._error,
        )

    def load(self, model: Sequence[Place]) -> None:
        """Load the states of one model all at once, then by themselves what that leaves open.

        Releases look at all keys of a state dict, so that what they do with one state may depend
        on the others.
        """
        model = [place for place in model if self._can_be_asked(place)]
        if not model:
            return
        first, *others = asking.by_recipe(model, self._assumed)
        answer = self._loaded(model, first.recipe)
        self._missing += answer.missing_keys
        self._unexpected += answer.unexpected_keys
        if answer.error is not None:
            self._error = self._error or _error(answer) + _perhaps(model, answer)
            self._alone(model)
            return
        self._judge(first.places, answer)
        for group in others:
            self._judge(group.places, self._loaded(group.places, group.recipe))

    def _alone(self, model: Sequence[Place]) -> None:
        """Load each state by itself, to tell which of them fail."""
        for group in asking.by_recipe(model, self._assumed):
            for place in group.places:
                self._judge([place], self._loaded([place], group.recipe))

    def _can_be_asked(self, place: Place) -> bool:
        """Return whether a place can be built and its state written; if not, note why."""
        why = ""
        if not features.load().module(place.feature).is_in(self._release):
            why = f"release {self._release.name} has no {place.feature}"
        elif place.state is not None:
            try:
                copies.file_of({place.key: place.state}, self._allowed)
            except Uncopied as error:
                why = str(error)
        if why:
            answer = StateAnswer(place.key, place.alike, LoadStatus.UNKNOWN, f"not asked: {why}")
            self._answers.append(answer)
        return not why

    def _loaded(self, model: Sequence[Place], recipe: Mapping[str, Any]) -> LoadAnswer:
        if not asking.in_catalogue(recipe):
            raise MatrixError(
                f"the recipe {class_of(dict(recipe))} is none of Transformer Engine's"
            )
        scenario = _scenario(model, recipe)
        values = {place.tree_key: place.state for place in model if place.state is not None}
        with cleanup.scratch() as folder:
            made = Path(folder) / "states.pt"
            made.write_bytes(copies.file_of(values, self._allowed))
            self._process.enter(scenario, _TIMEOUT)
            answer = self._process.load(scenario, made, _TIMEOUT, None, self._opt_in)
        if isinstance(answer, WorkerFailure):
            if answer.kind == NOT_EMULATED:
                raise MatrixError(f"the cpu lane does not emulate {answer.message}")
            raise MatrixError(f"the cpu lane failed: {answer}")
        return answer

    def _judge(self, model: Sequence[Place], answer: LoadAnswer) -> None:
        for place in model:
            status, detail = _became(place, answer, self._release)
            self._answers.append(StateAnswer(place.key, place.alike, status, detail))


_numbers = itertools.count()


def _scenario(model: Sequence[Place], recipe: Mapping[str, Any]) -> SizedScenario:
    """Return the scenario of a model with a module at each place, trained under a recipe."""
    # Operations take some recipes later than modules do.
    operations = [place.feature for place in model if place.feature.startswith(features.OPERATIONS)]
    row = features.load().recipe(class_of(dict(recipe)))
    scenario = Scenario(
        name=f"places-{next(_numbers)}",
        summary="",
        size="small",
        module=next(iter(operations), "Linear"),
        save_recipe=dict(recipe),
        load_recipe=dict(recipe),
        device=row.device,
    )
    sized = SizedScenario(scenario, _SIZE)
    sized.request["tree"] = [
        {"path": place.path, "module": place.module, "gemms": place.gemms} for place in model
    ]
    return sized


def _error(answer: LoadAnswer) -> str:
    assert answer.error is not None
    message = " ".join(answer.error.message.split())
    return f"{answer.error.type} at {answer.stage.value}: {message}"


def _perhaps(model: Sequence[Place], answer: LoadAnswer) -> str:
    """Return the doubt about an error that is of norms alone which may be PyTorch's own."""
    bare = {place.tree_key: place.path for place in model if place.state is None}
    if not answer.missing_keys or answer.unexpected_keys or set(answer.missing_keys) - bare.keys():
        return ""
    which = ", ".join(bare[key] for key in answer.missing_keys)
    return f" -- if these are norms of Transformer Engine: {which}"


def _became(place: Place, answer: LoadAnswer, release: Release) -> tuple[LoadStatus, str]:
    """Return what became of the state at a place, in a load that it was part of."""
    if answer.error is not None:
        return LoadStatus.FAILS, _error(answer)
    if answer.stage != Stage.FIRST_STEP:
        return LoadStatus.LOADS, f"taken as far as {answer.stage.value}: it lacks the recipe"
    state = place.state
    if state is None or state.holds is not Holds.METADATA:
        return LoadStatus.LOADS, ""
    found = next((part for part in answer.parts if place.is_at(part.path)), None)
    moved = next((part for part in answer.after_load or () if place.is_at(part.path)), None)
    old = Version(release.version) < outcomes.RECIPES_SINCE
    result = outcomes.part_result(
        _part(place, state), found, moved, () if old else answer.lost_recipes
    )
    return _status(result, finite=asking.is_finite(state))


def _status(result: PartResult, *, finite: bool) -> tuple[LoadStatus, str]:
    match result.outcome:
        case Outcome.LOADED if result.after_load == AfterLoad.FROZEN and finite:
            return LoadStatus.FROZEN, "the scales and amaxes load, and no later step updates them"
        case Outcome.LOADED if not finite:
            return LoadStatus.LOADS, (
                "it holds values that are not finite, as an overflow leaves them, so that "
                "steps after the load were not tried"
            )
        case Outcome.LOADED:
            resized = "with another history length" if result.resized else ""
            untested = UNTESTED if result.after_load == AfterLoad.UNTESTED else ""
            return LoadStatus.LOADS, "; ".join(filter(None, (resized, untested)))
        case Outcome.DEFAULTS:
            return LoadStatus.RESETS, "the scales become 1, the amaxes 0"
        case Outcome.NONE:
            return LoadStatus.RESETS, "the module keeps no such metadata in this release"
    return LoadStatus.RESETS, f"some of it is lost: {'; '.join(result.flaws)}"


def _part(place: Place, state: ExtraState) -> Part:
    """Return the metadata of a state as a release's process describes it."""
    tensors = {}
    for name, values in state.tensors.items():
        mode, _, field = name.rpartition(".")
        what, _, way = field.rpartition("_")
        data = struct.pack(f"<{values.count}f", *values.numbers)
        tensors[f"{mode or _MODES[way]}.{what}"] = Tensor(
            dtype="float32",
            shape=values.shape,
            digest=hashlib.sha256(f"torch.float32{values.shape}".encode() + data).hexdigest(),
            first=(),
            default=values.all(0.0 if "amax" in name else 1.0),
        )
    return Part(path=place.path, name=place.path, attention=False, tensors=tensors)
