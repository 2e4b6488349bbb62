"""The function ``remap``: a checkpoint rewritten so that a release loads its FP8 metadata."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from matrix.catalogue import forms, releases
from matrix.catalogue.forms import Form
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import REWRITE
from matrix.checkpoint import dropping, layout, norms
from matrix.checkpoint import edits as planning
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.publish import Unchanged
from matrix.checkpoint.rewriting import Rewrite, check, publishing
from matrix.checkpoint.words import Holds, Step
from matrix.doctor import distributed, requantizing, writers
from matrix.doctor.live import LiveReleases
from matrix.doctor.predictions import Prediction, Predictor
from matrix.doctor.sightings import LoadStatus
from matrix.doctor.verify import verify
from matrix.errors import ExitCode, MatrixError, UsageError
from matrix.judge import ways
from matrix.lane.sources import FetchedSources
from matrix.store.store import Store
from matrix.system.counting import first_of
from matrix.system.progress import Progress

_SHOWN = 5
_LOST = {
    Holds.METADATA: "scales and amaxes",
    Holds.DEFAULTS: "nothing but defaults",
    Holds.UNREADABLE: "what could not be read",
    Holds.NOTHING: "nothing",
}


class NoRewriteError(MatrixError):
    """No rewrite is known that makes the release load the checkpoint."""

    exit_code = ExitCode.DEVIATES


@dataclasses.dataclass(frozen=True)
class StateChange:
    """The change to the extra state of one module."""

    module: str
    """Path of the module in the model."""
    key: str
    new_key: str | None
    """The key after the rewrite; None if the state is removed."""
    file: str
    """File that contains the state, relative to the checkpoint."""
    steps: tuple[Step, ...]
    lost: str = ""
    """What is given up, as text; empty if nothing is."""


@dataclasses.dataclass(frozen=True)
class Remapped:
    """What ``remap`` did, or would do."""

    path: Path
    out: Path
    release: str
    before: Prediction
    """What the release does with the checkpoint as it is."""
    form: str | None
    """The form that it was rewritten into; None if nothing has to be rewritten."""
    changes: tuple[StateChange, ...]
    """One for each module that changes."""
    written: bool = False
    """Whether ``out`` was written."""
    verified: str = ""
    """What the release's own code did with the result, as a sentence."""
    opt_in: str | None = None
    """Environment variable to set for the load."""
    weights: str = ""
    """What becomes of quantized weights, as text; empty if nothing does."""
    read: str = ""
    """How a distributed checkpoint has to be read, as a clause; empty where as usual."""


def remap(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    to: str,
    *,
    drop_fp8_state: bool | str | Collection[str] = False,
    add_norm_states: Collection[str] = (),
    dequantize: Literal["bf16", "fp16", "fp32"] | None = None,
    dry_run: bool = False,
    saved_by: str | None = None,
    allow: Collection[str] = (),
    unchanged: Unchanged = "copy",
    store: Store | None = None,
    sources: FetchedSources | None = None,
    progress: Progress | None = None,
) -> Remapped:
    """Rewrite a checkpoint so that a release loads its FP8 metadata and goes on updating it.

    Only rewrites that evidence shows to work for its saver and the release are applied.
    If the release loads the checkpoint as it is, nothing is written.

    :param out: a new file, or for a folder a new folder.
    :param drop_fp8_state: remove FP8 state instead, so that strict loading works: all of it, or
        that of modules by name, which is ``attention`` or a path in which ``*`` stands for any
        characters.
    :param add_norm_states: patterns of the paths of norms that are Transformer Engine's, and get
        the empty extra state that 1.13 and later expect.
    :param dequantize: make plain tensors of this type of quantized weights; by default they get
        the form of the release's own pickles.
    :param dry_run: write nothing, and return what would be done.
    :param saved_by: the release that wrote it, if that is known.
    :param allow: names in its pickles, without ``()``, that may be written on.
    :param unchanged: what to do with files of a folder that do not change.
    :param store: evidence in addition to what is recorded.
    :param sources: where to obtain the release's code, in which the result is tried.
    :raises NoRewriteError: no rewrite is known to help.
    :raises LossError: the release has no place for what the checkpoint holds.
    :raises CheckpointError: the checkpoint cannot be read, loading it would run code, or ``out``
        cannot be written.
    :raises UsageError: a release is unknown.
    """
    path, out = Path(path), Path(out)
    known = releases.load()
    release = known[to]
    found = layout.find(path)
    contents = found.read()
    refuse_unsafe(path, contents.unsafe_names(allow))
    savers = writers.find(contents, known, saved_by).releases
    if not (contents.states or contents.weights or add_norm_states):
        raise nothing_to_rewrite(path)
    (before,) = Predictor(contents, savers, store).all([release])
    plan = Remapped(path, out, to, distributed.predicted(contents, before), None, ())
    if distributed.has_sizes(contents):
        plan = dataclasses.replace(plan, read=ways.READ_WHOLE)
    drop = dropping.names(drop_fp8_state)
    if not (drop or add_norm_states or dequantize) and is_fine(before):
        return dataclasses.replace(plan, opt_in=before.opt_in)
    weights = requantizing.change(contents, release, dequantize, savers)
    form = form_of(release)
    if add_norm_states and not form.operations:
        raise UsageError(f"norms have no extra state in {to}", do="Leave --add-norm-states out")
    edits = planning.plan(contents, form, drop=drop, norms=add_norm_states)
    changes = tuple(_change(edit) for edit in edits if edit.changes)
    # The check of the result does not load the weights.
    hopeless = contents.weights and not requantizing.is_proven(before, weights)
    # Where nothing of the FP8 state is left, there is nothing to prove.
    all_given_up = dropping.ALL in drop
    if not all_given_up and (hopeless or not (changes or weights)):
        raise no_rewrite(before, norms.without_state(contents) if form.operations else ())
    opt_in = release.opt_in if any(map(planning.needs_opt_in, edits)) else None
    told = requantizing.described(contents, weights, release)
    plan = dataclasses.replace(plan, form=form.name, changes=changes, opt_in=opt_in, weights=told)
    if dry_run or not (changes or weights):
        return plan
    rewrite = Rewrite(found, edits, form, unchanged, weights, contents.quantized.files)
    with publishing(rewrite, out, progress or Progress()) as new:
        written = check(rewrite, contents, layout.find(new, path.name).read())
        lane = LiveReleases(sources or FetchedSources(), allow)
        tried, verified = verify(contents, edits, written, release, lane)
        if not (tried or all_given_up or before.variant.startswith(REWRITE)):
            raise _unproven(before, verified)
    return dataclasses.replace(plan, written=True, verified=verified)


def refuse_unsafe(path: Path, names: Sequence[str]) -> None:
    """Refuse a checkpoint that names what no honest one does: whoever loads the result runs it."""
    if names:
        shown = first_of(names, _SHOWN)
        raise CheckpointError(
            f"{path} is not written on: loading it would import or call {shown}",
            why="it was made to do harm, or holds objects of a program of your own",
            do="If you know a name as your own, allow it with --allow NAME, each one by itself",
        )


def nothing_to_rewrite(path: Path) -> NoRewriteError:
    """Return the error for a checkpoint without FP8 state and without quantized weights."""
    return NoRewriteError(
        f"{path} holds no extra state of Transformer Engine, and no quantized weights",
        why="it is of a model without them, holds a part of one, or they were left out of it",
        do="There is nothing to rewrite: if a release misses extra states in it, load it with "
        "strict=False, and FP8 starts at defaults",
    )


def is_fine(before: Prediction) -> bool:
    """Return whether the checkpoint loads without a rewrite."""
    return before.status == LoadStatus.LOADS or before.variant == "trusted"


def form_of(release: Release) -> Form:
    """Return the form that a release reads.

    :raises NoRewriteError: the table has none for it.
    """
    form = forms.read_by(release.version)
    if form is None:
        raise NoRewriteError(f"nobody has looked at how {release.name} reads extra states")
    return form


def no_rewrite(before: Prediction, bare: Collection[str] = ()) -> NoRewriteError:
    """Return the error that says why there is no rewrite.

    :param bare: paths of norms to which a state could be added.
    """
    if before.status == LoadStatus.DEPENDS:
        return NoRewriteError(
            f"what {before.release} does with it depends on more than it tells: {before.detail}",
            do=before.step or "te-matrix inspect --live asks the release itself",
        )
    return NoRewriteError(
        f"no rewrite is known to make {before.release} load its FP8 metadata",
        why=f"{_observed(before)}: {before.detail}",
        do=_advice(before, bare),
    )


def _unproven(before: Prediction, verified: str) -> NoRewriteError:
    return NoRewriteError(
        f"whether {before.release} loads the rewritten checkpoint is not known",
        why=f"nothing like it was measured, and its own code could not be asked: {verified}",
        do="Nothing was written; run it where the source of the release can be had",
    )


def _observed(before: Prediction) -> str:
    unknown = before.status == LoadStatus.UNKNOWN
    return "nothing like it was measured" if unknown else f"it {before.status.value}"


def _advice(before: Prediction, bare: Collection[str]) -> str:
    """Return the step that inspect advises, unless that is the command that refuses."""
    if before.step and "te-matrix remap" not in before.step:
        return before.step
    if bare:
        shown = ", ".join(list(bare)[:_SHOWN]) + (", ..." if len(bare) > _SHOWN else "")
        return f"If {shown} are norms of Transformer Engine, name them with --add-norm-states"
    if before.status == LoadStatus.UNKNOWN:
        return "te-matrix inspect --live asks the release itself"
    return f"te-matrix inspect shows which releases load it; {dropping.ADVICE}"


def _change(edit: Edit) -> StateChange:
    lost = _LOST[edit.state.holds] if Step.DROP_STATE in edit.steps else ""
    return StateChange(
        edit.state.module, edit.state.key, edit.new_key, edit.state.file, edit.steps, lost
    )
