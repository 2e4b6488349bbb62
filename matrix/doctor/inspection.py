"""The function ``inspect``: what a checkpoint holds, and what each release does with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from matrix.catalogue import faq, features, releases
from matrix.checkpoint import casts, kinds, layout
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.kinds import ATTENTION, Kind
from matrix.checkpoint.quantized.summary import WeightGroup
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds, StateContainer
from matrix.doctor import asked, distributed, writers
from matrix.doctor.live import LiveAnswer, LiveReleases
from matrix.doctor.predictions import Prediction, Predictor
from matrix.doctor.sightings import HISTORY, Assumed, LoadStatus
from matrix.store.store import Store
from matrix.system.counting import counted

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ModuleState:
    """The extra state of one module, as ``te-matrix inspect --json`` shows it."""

    name: str
    """Path of the module in the model."""
    key: str
    """Key of the extra state in the checkpoint."""
    file: str
    """File that contains it, relative to the checkpoint."""
    attention: bool
    """Whether the module is an attention core, or inside one."""
    container: StateContainer | str
    """What it was saved in; the type as text if Transformer Engine does not write it."""
    holds: Holds
    slots: tuple[int, int] | None = None
    """Number of scales, forward and backward."""
    history: int | None = None
    """Length of the amax history, in steps."""
    modules: tuple[str, ...] = ()
    """The modules of Transformer Engine that it can be of, as far as it tells."""
    recipe: str | None = None
    """Class of the recipe that it contains."""
    marked: bool = False
    """Whether it contains the mark of registration, which loaders that keep it freeze."""
    cast: str = ""
    """The element type that it was cast to as a whole; empty if it was not."""
    problem: str = ""
    """Why it is unreadable; empty if it is not."""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a checkpoint is, and what each release does with it."""

    path: Path
    format: str
    """Its format, as text for users."""
    files: int
    keys: int
    savers: tuple[str, ...]
    """The releases that can have written it, oldest first."""
    bands: tuple[str, ...]
    """The FAQ's bands of ``savers``."""
    reasons: tuple[str, ...]
    """The traits from which ``savers`` follow, one sentence each."""
    assumed: Assumed
    """The recipe that the releases are taken to load with."""
    nothing_to_lose: bool
    """Whether no state holds metadata but defaults, so that a reset loses nothing."""
    modules: tuple[ModuleState, ...]
    weights: tuple[WeightGroup, ...]
    """Its quantized weights, by kind."""
    warnings: tuple[str, ...]
    """Names in its pickles that loading would import, or with ``()`` call, and that honest
    checkpoints do not hold; see ``catalogue/data/pickled_names.toml``."""
    notes: tuple[str, ...]
    targets: tuple[Prediction, ...]
    """One for each release asked for."""
    live: tuple[LiveAnswer, ...] = ()
    """What the releases themselves did with the extra states, where they were asked."""

    def target(self, release: str) -> Prediction:
        """Return the prediction for one release.

        :raises KeyError: there is none for that release.
        """
        return {target.release: target for target in self.targets}[release]


def inspect(
    path: str | os.PathLike[str],
    targets: Sequence[str] | None = None,
    *,
    saved_by: str | None = None,
    allow: Collection[str] = (),
    store: Store | None = None,
    recipe: str | None = None,
    history: int = HISTORY,
    live: LiveReleases | None = None,
) -> Inspection:
    """Return what a checkpoint holds and what each release does with it.

    Nothing in the checkpoint is executed, and its weights are not read.

    :param path: a ``torch.save`` or safetensors file, or the folder of a sharded checkpoint.
    :param targets: names of the releases to predict for; by default all of the catalogue.
    :param saved_by: the release that wrote it, if that is known.
    :param allow: names in its pickles, without ``()``, that are not to be warned of.
    :param store: evidence in addition to what is recorded.
    :param recipe: class of the recipe that the releases load with; by default the checkpoint's.
    :param history: ``amax_history_len`` of that recipe, where it is delayed scaling.
    :param live: have the releases themselves load its extra states there, instead of predicting.
    :raises CheckpointError: it is no checkpoint, is incomplete, or cannot be read.
    :raises UsageError: a release or recipe is unknown.
    """
    if recipe is not None:
        features.load().recipe(recipe)
    known, documentation = releases.load(), faq.load()
    loaders = [known[name] for name in targets] if targets is not None else known.releases
    found = layout.find(Path(path)).read()
    wrote = writers.find(found, known, saved_by)
    assumed = Assumed(recipe, history)
    answers: tuple[LiveAnswer, ...] = ()
    recorded = Predictor(found, wrote.releases, store, assumed)
    if live is None:
        predictions = recorded.all(loaders)
    elif found.unsafe_names(allow):
        why = "not asked: loading it would run code"
        predictions = tuple(Prediction(r.name, LoadStatus.UNKNOWN, why) for r in loaders)
    else:
        with live:
            predictions, answers = asked.ask(found, loaders, live, assumed, recorded)
    return Inspection(
        path=Path(path),
        format=found.format,
        files=found.files,
        keys=found.keys,
        savers=tuple(release.name for release in wrote.releases),
        bands=tuple(dict.fromkeys(documentation.band(release).name for release in wrote.releases)),
        reasons=wrote.reasons,
        assumed=assumed,
        nothing_to_lose=all(s.holds in (Holds.NOTHING, Holds.DEFAULTS) for s in found.states),
        modules=tuple(_module(state, kind) for state, kind in kinds.classify(found)),
        weights=found.quantized.groups(),
        warnings=found.unsafe_names(allow),
        notes=tuple(_notes(found)),
        targets=tuple(distributed.predicted(found, made) for made in predictions),
        live=answers,
    )


def _module(state: ExtraState, kind: Kind) -> ModuleState:
    return ModuleState(
        name=state.module,
        key=state.key,
        file=state.file,
        attention=state.attention or kind.modules == {ATTENTION},
        container=state.container,
        holds=state.holds,
        slots=kind.traits.slots,
        history=kind.traits.history,
        modules=tuple(sorted(kind.modules)),
        recipe=kind.traits.recipe,
        marked=kind.traits.marked,
        cast=state.cast,
        problem=state.problem,
    )


_METADATA_TYPE = "float32"


def _casts(found: Contents) -> Iterator[str]:
    """Yield what was cast to another element type on its way."""
    for dtype in sorted({state.cast for state in found.states} - {""}):
        keys = [state.key for state in found.states if state.cast == dtype]
        if dtype not in casts.CASTS:
            yield (
                f"{counted(len(keys), 'extra state')} saved as {dtype}: {_some(keys)}; remap makes "
                "byte tensors of them again, which is exact"
            )
            continue
        yield (
            f"{counted(len(keys), 'extra state')} cast from bytes to {dtype}: {_some(keys)}; "
            "casting back, with .to(torch.uint8), is exact"
        )
    rounded = [
        state.key
        for state in found.states
        if any(tensor.dtype != _METADATA_TYPE for tensor in state.tensors.values())
    ]
    if rounded:
        yield (
            f"scales or amaxes of {counted(len(rounded), 'extra state')} are not {_METADATA_TYPE}: "
            f"{_some(rounded)}; what a cast has rounded is lost"
        )


def _some(keys: Sequence[str]) -> str:
    more = ", ..." if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _type(state: ExtraState) -> str:
    known = isinstance(state.container, StateContainer)
    return state.problem if known else str(state.container)


def _notes(found: Contents) -> list[str]:
    notes = list(found.notes)
    if not found.states and not found.foreign:
        rest = " where it was searched" if found.unsearched else ", so no FP8 state of TE"
        notes.append(f"it holds no key that ends in _extra_state{rest}")
    if found.unsearched:
        notes.append(
            f"{counted(len(found.unsearched), 'place')} not searched for FP8 state: "
            f"{_some(found.unsearched)}"
        )
    if found.foreign:
        told = _some([f"{state.key} ({_type(state)})" for state in found.foreign])
        notes.append(
            f"{counted(len(found.foreign), 'extra state')}, not Transformer Engine's: {told}; "
            "another library saved it, or it was changed on the way: nothing is said of it, and "
            "remap leaves it as it is"
        )
    notes += _casts(found)
    notes += [f"its weights are quantized: {group}" for group in found.quantized.groups()]
    notes += [f"a quantized weight is not understood: {why}" for why in found.quantized.unknown]
    if left := found.quantized.left_alone:
        notes.append(
            f"{counted(left.total(), 'quantized weight')} of a class that remap leaves as it is"
        )
    return notes
