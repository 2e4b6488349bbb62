"""A check of rewritten metadata in the target release's own code, in the cpu lane.

The release never unpickles the user's checkpoint. It saves a model with as many attention
modules; the decoded states are encoded in place of theirs, and the release loads the result.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from matrix.catalogue.forms import Form
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import Scenario, Size, SizedScenario, Transport
from matrix.catalogue.words import Lane
from matrix.checkpoint import edits as planning
from matrix.checkpoint import layout
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.encoding import encode
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.rewriting import write_file
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds
from matrix.errors import MatrixError
from matrix.lane.local import LocalRunner
from matrix.lane.process import ReleaseProcess
from matrix.lane.protocol import NOT_EMULATED, AnyAnswer, LoadAnswer, WorkerFailure
from matrix.lane.sources import FetchedSources, cache_folder, prepare_cache
from matrix.system import cleanup

_BATCH = 64
_TIMEOUT = 300.0
_DEFAULT_HISTORY = 1024
_SLOTS = (9, 6)  # number of scales of an attention module, forward and backward
_WAYS = {"forward": "fwd", "backward": "bwd"}


def verify(
    states: Sequence[ExtraState], release: Release, form: Form, sources: FetchedSources
) -> str:
    """Load the attention's metadata in a release's real code, in the cpu lane.

    Where no metadata is left, a model without FP8 state must load strictly, and start at
    defaults.

    :param states: the extra states of the rewritten checkpoint.
    :param form: the form that they were rewritten into.
    :param sources: where to obtain the release's code.
    :returns: the result as a sentence, or why it could not be tried.
    :raises CheckpointError: the release does not load the metadata.
    """
    wanted = [state for state in states if state.attention and state.holds is Holds.METADATA]
    fitting = [state for state in wanted if _fits(state)]
    if wanted and not fitting:
        return "not tried: its attention modules have other numbers of scales than TE's"
    try:
        _try(fitting, release, form, sources)
    except CheckpointError:
        raise
    except MatrixError as error:
        return f"not tried: {error}"
    if not wanted:
        return (
            f"release {release.name} (lane cpu) loaded a model without FP8 state in this form "
            "strictly, and started at defaults"
        )
    return f"release {release.name} (lane cpu) {_result(wanted, fitting)}"


def _result(wanted: Sequence[ExtraState], fitting: Sequence[ExtraState]) -> str:
    """Return what was seen of states that loaded, and what was not tried."""
    text = f"loaded the metadata of {len(fitting)} attention module(s) bit-exactly"
    overflowed = sum(not _finite(state) for state in fitting)
    if overflowed:
        text += (
            f", and the next step updated that of {len(fitting) - overflowed}; the others have "
            "a value that is not finite, as an overflow leaves it, and were not tried further"
        )
    else:
        text += ", and the next step updated it"
    if rest := len(wanted) - len(fitting):
        text += f"; {rest} of another shape were not tried"
    return text


def _finite(state: ExtraState) -> bool:
    return all(math.isfinite(n) for values in state.tensors.values() for n in values.numbers)


def _try(
    states: Sequence[ExtraState], release: Release, form: Form, sources: FetchedSources
) -> None:
    """Load the states in batches, or a model without FP8 state if there are none."""
    prepare_cache()
    source = sources.get(release)
    with (
        LocalRunner(cache_folder() / "logs") as runner,
        contextlib.closing(runner.open(release, source, Lane.CPU)) as process,
    ):
        for batch in _batches(states):
            answer = _load(process, _sized_scenario(len(batch), _history(batch[0])), batch, form)
            _compare(release.name, answer, batch)
        if not states:
            answer = _load(process, _sized_scenario(1, _DEFAULT_HISTORY), (), form)
            _compare_defaults(release.name, answer)


def _fits(state: ExtraState) -> bool:
    scales = [state.tensors.get(f"scale_{way}") for way in _WAYS.values()]
    return tuple(len(scale.numbers) if scale else 0 for scale in scales) == _SLOTS


def _batches(states: Sequence[ExtraState]) -> Iterator[list[ExtraState]]:
    """Yield states with amax histories of the same length, a limited number at a time."""
    for _length, alike in itertools.groupby(sorted(states, key=_history), key=_history):
        whole = list(alike)
        for start in range(0, len(whole), _BATCH):
            yield whole[start : start + _BATCH]


def _history(state: ExtraState) -> int:
    return state.tensors["amax_history_fwd"].shape[0]


def _sized_scenario(layers: int, history: int) -> SizedScenario:
    scenario = Scenario(
        name="verify",
        summary="",
        size="small",
        layers=layers,
        weights="high-precision",
        state="all",
        save_recipe={"amax_history_len": history},
        load_recipe={"amax_history_len": history},
        transport=Transport(weights_only=False, strict=True),
    )
    return SizedScenario(scenario, Size(hidden_size=64, attention_heads=4))


def _load(
    process: ReleaseProcess, scenario: SizedScenario, states: Sequence[ExtraState], form: Form
) -> LoadAnswer:
    with cleanup.scratch() as folder:
        own, made = Path(folder) / "own.pt", Path(folder) / "made.pt"
        _answer(process.save(scenario, own, _TIMEOUT))
        _write_states(states, own, made, form)
        process.enter(scenario, _TIMEOUT)
        opt_in = process.release.opt_in if states else None
        return _answer(process.load(scenario, made, _TIMEOUT, None, opt_in))


def _answer(answer: AnyAnswer | WorkerFailure) -> AnyAnswer:
    if not isinstance(answer, WorkerFailure):
        return answer
    if answer.kind == NOT_EMULATED:
        raise MatrixError(f"the cpu lane does not emulate {answer.message}")
    raise MatrixError(f"the cpu lane failed: {answer.message}")


def _write_states(states: Sequence[ExtraState], own: Path, made: Path, form: Form) -> None:
    """Write the release's own checkpoint with other states for its attention modules.

    If there are none, all of its states are removed.
    """
    saved = layout.find(own).read().states
    places = sorted((state for state in saved if state.attention), key=_layer)
    edits = [
        Edit(place, place.key, encode(state, form), ())
        for place, state in zip(places, states, strict=bool(states))
    ]
    # The release's own states of other modules are put in the form, too: 1.6 and 1.7 save the
    # mark that freezes them.
    edits += planning.plan([state for state in saved if not state.attention], form)
    if not states:
        edits = planning.plan(saved, form, drop=True)
    write_file(own, made, edits)


def _layer(state: ExtraState) -> int:
    first = state.key.partition(".")[0]
    return int(first) if first.isdecimal() else 0


def _compare(release: str, answer: LoadAnswer, states: Sequence[ExtraState]) -> None:
    if error := answer.error:
        raise _refusal(release, f"it raises {error.type}: {error.message}")
    parts = [part for part in answer.parts if part.attention]
    parts.sort(key=lambda part: int(part.name.partition(".")[0]) if len(states) > 1 else 0)
    for part, state in zip(parts, states, strict=True):
        for way, short in _WAYS.items():
            for what in ("scale", "amax_history"):
                found = part.tensors[f"{way}.{what}"].digest
                if found != _digest(state, f"{what}_{short}"):
                    raise _refusal(release, f"{what} of {state.module} is not what it was")
    overflowed = {
        part.name for part, state in zip(parts, states, strict=True) if not _finite(state)
    }
    for moved in answer.after_load or ():
        if moved.name not in overflowed and not all(moved.moved.values()):
            raise _refusal(release, f"the metadata of {moved.name} is not updated")


def _compare_defaults(release: str, answer: LoadAnswer) -> None:
    if error := answer.error:
        raise _refusal(release, f"it raises {error.type}: {error.message}")
    if not all(tensor.default for part in answer.parts for tensor in part.tensors.values()):
        raise _refusal(release, "something of it is not at its default")


def _digest(state: ExtraState, name: str) -> str:
    values = state.tensors[name]
    return hashlib.sha256(f"torch.float32{values.shape}".encode() + values.data).hexdigest()


def _refusal(release: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"release {release} does not load the rewritten metadata: {what}",
        why="this checkpoint is not like the ones that the rewrite was proven with",
        do="Nothing was written; report it with the output of te-matrix inspect --json",
    )
