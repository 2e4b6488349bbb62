"""``inspect``: a checkpoint's report, for people and scripts alike."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from matrix.catalogue import faq, releases
from matrix.checkpoint import layout
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.states import REGISTRATION, ExtraState
from matrix.checkpoint.words import Holds, StateContainer
from matrix.doctor import writers
from matrix.doctor.predictions import Prediction, Predictor
from matrix.doctor.resemblance import nothing_to_lose, scenario_of
from matrix.store.store import Store


@dataclasses.dataclass(frozen=True)
class ModuleState:
    """One module's extra state.

    :param container: ``BytesIO``, ``byte tensor``, ``empty tensor``, or what else it is.
    :param holds: ``metadata``; ``defaults``: scales 1 and amaxes 0; ``nothing``: the module
        had no FP8 state; ``unreadable``, with ``problem`` saying why.
    :param slots: number of scales, forward and backward.
    :param history: length of the amax history, in steps.
    :param marked: it carries the mark that freezes it in every loader.
    """

    name: str
    key: str
    file: str
    attention: bool
    container: StateContainer | str
    holds: Holds
    slots: tuple[int, int] | None = None
    history: int | None = None
    marked: bool = False
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What a checkpoint is, and what each release does with it.

    :param savers: the releases that can have written it, oldest first; ``bands`` are the
        FAQ's bands of them, ``reasons`` what tells so.
    :param scenario: the matrix's scenario that it resembles.
    :param nothing_to_lose: whether the attention's metadata is all default, or absent.
    :param warnings: what its pickles name that neither rebuilds tensors nor is Transformer
        Engine's; with ``()`` where loading it would call it.
    """

    path: Path
    format: str
    files: int
    keys: int
    savers: tuple[str, ...]
    bands: tuple[str, ...]
    reasons: tuple[str, ...]
    scenario: str | None
    nothing_to_lose: bool
    modules: tuple[ModuleState, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    targets: tuple[Prediction, ...]

    def target(self, release: str) -> Prediction:
        """Return what one release does with it.

        :raises KeyError: the report does not cover that release.
        """
        return {target.release: target for target in self.targets}[release]


def inspect(
    path: str | os.PathLike[str],
    targets: Sequence[str] | None = None,
    *,
    saved_by: str | None = None,
    store: Store | None = None,
) -> Inspection:
    """Say what a checkpoint holds and what each release does with it.

    Nothing of the checkpoint is executed, and its weights are not read.

    :param path: a ``torch.save`` or safetensors file, or the folder of a sharded checkpoint.
    :param targets: names of the releases to answer for; all of the catalogue by default.
    :param saved_by: the release that wrote it, where that is known better.
    :param store: evidence beside the recorded.
    :raises CheckpointError: it is no checkpoint, is not whole, or cannot be read.
    :raises UsageError: a release is unknown.
    """
    known, documentation = releases.load(), faq.load()
    loaders = [known[name] for name in targets] if targets is not None else known.releases
    found = layout.find(Path(path)).read()
    wrote = writers.find(found, known, saved_by)
    predictor = Predictor(found, wrote.releases, documentation, store)
    return Inspection(
        path=Path(path),
        format=found.format,
        files=found.files,
        keys=found.keys,
        savers=tuple(release.name for release in wrote.releases),
        bands=tuple(dict.fromkeys(documentation.band(release).name for release in wrote.releases)),
        reasons=wrote.reasons,
        scenario=scenario_of(found),
        nothing_to_lose=nothing_to_lose(found),
        modules=tuple(_module(state) for state in found.states),
        warnings=tuple(sorted(found.strangers)),
        notes=tuple(_notes(found)),
        targets=predictor.all(loaders),
    )


def _module(state: ExtraState) -> ModuleState:
    ways = [state.tensors.get(f"scale_{way}") for way in ("fwd", "bwd")]
    history = state.tensors.get("amax_history_fwd")
    forward, backward = (len(way.numbers) if way else 0 for way in ways)
    return ModuleState(
        name=state.module,
        key=state.key,
        file=state.file,
        attention=state.attention,
        container=state.container,
        holds=state.holds,
        slots=(forward, backward) if state.tensors else None,
        history=history.shape[0] if history and history.shape else None,
        marked=REGISTRATION in state.extra,
        problem=state.problem,
    )


def _notes(found: Contents) -> list[str]:
    notes = list(found.notes)
    if not found.states:
        notes.append("it holds no key that ends in _extra_state, so no FP8 state of TE")
    if found.weights:
        notes.append(f"its weights are quantized: {', '.join(sorted(found.weights))}")
    return notes
