"""``remap``: a checkpoint rewritten for a release, as the matrix has seen it work."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from matrix.catalogue import faq, forms, releases, scenarios
from matrix.catalogue.forms import Form
from matrix.catalogue.releases import Release
from matrix.checkpoint import edits as planning
from matrix.checkpoint import layout
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.publish import Unchanged
from matrix.checkpoint.rewriting import Rewrite, check, publishing
from matrix.checkpoint.words import Holds, Step
from matrix.doctor import writers
from matrix.doctor.predictions import LoadStatus, Prediction, Predictor
from matrix.doctor.verify import verify
from matrix.errors import ExitCode, MatrixError
from matrix.lane.sources import FetchedSources
from matrix.store.store import Store
from matrix.system.progress import Progress

_LOST = {
    Holds.METADATA: "scales and amaxes",
    Holds.DEFAULTS: "nothing but defaults",
    Holds.UNREADABLE: "what could not be read",
    Holds.NOTHING: "nothing",
}


class NoRewriteError(MatrixError):
    """A checkpoint that no rewrite is known to help in the release asked for."""

    exit_code = ExitCode.DEVIATES


@dataclasses.dataclass(frozen=True)
class StateChange:
    """What becomes of one module's extra state: its keys, and the steps, by name.

    ``new_key`` is None where the state is left out. ``lost`` says what is given up.
    """

    module: str
    key: str
    new_key: str | None
    file: str
    steps: tuple[Step, ...]
    lost: str = ""


@dataclasses.dataclass(frozen=True)
class Remapped:
    """What was, or would be, done.

    :param before: what the release does with the checkpoint as it is.
    :param form: the form that it was rewritten into; None: nothing was to be done.
    :param changes: the modules that change.
    :param written: whether ``out`` was written.
    :param verified: what the release's own code did with the metadata, in words.
    :param opt_in: environment variable to set for the load.
    """

    path: Path
    out: Path
    release: str
    before: Prediction
    form: str | None
    changes: tuple[StateChange, ...]
    written: bool = False
    verified: str = ""
    opt_in: str | None = None


def remap(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    to: str,
    *,
    drop_fp8_state: bool = False,
    dry_run: bool = False,
    saved_by: str | None = None,
    unchanged: Unchanged = "copy",
    store: Store | None = None,
    sources: FetchedSources | None = None,
    progress: Progress | None = None,
) -> Remapped:
    """Rewrite a checkpoint so that a release loads its FP8 metadata and goes on updating it.

    Only steps that the matrix has seen work for its saver and that release are applied.
    Where the release loads it as it is, nothing is written.

    :param out: a new file, or for a folder a new folder.
    :param drop_fp8_state: give the FP8 state up instead, so that strict loading works.
    :param dry_run: only say what would be done.
    :param saved_by: the release that wrote it, where that is known better.
    :param unchanged: what is done with files of a folder that do not change.
    :param sources: where the release's code comes from, to try the result.
    :raises NoRewriteError: no rewrite is known to help.
    :raises CheckpointError: the checkpoint cannot be read, or ``out`` cannot be written.
    :raises UsageError: a release is unknown.
    """
    path, out = Path(path), Path(out)
    known = releases.load()
    release = known[to]
    found = layout.find(path)
    contents = found.read()
    savers = writers.find(contents, known, saved_by).releases
    (before,) = Predictor(contents, savers, faq.load(), store).all([release])
    plan = Remapped(path, out, to, before, None, ())
    form = _dropping(release) if drop_fp8_state else _rewriting(before)
    if form is None:
        return dataclasses.replace(plan, opt_in=before.opt_in)
    edits = planning.plan(contents.states, form, drop=drop_fp8_state)
    changes = tuple(_change(edit) for edit in edits if edit.changes)
    without_pickles = drop_fp8_state and form.nothing == "empty tensor"
    opt_in = None if without_pickles else release.opt_in
    plan = dataclasses.replace(plan, form=form.name, changes=changes, opt_in=opt_in)
    if dry_run or not changes:
        return plan
    rewrite = Rewrite(found, edits, form, unchanged)
    with publishing(rewrite, out, progress or Progress()) as new:
        written = layout.find(new, path.name).read()
        check(rewrite, contents, written)
        verified = verify(written.states, release, form, sources or FetchedSources())
    return dataclasses.replace(plan, written=True, verified=verified)


def _rewriting(before: Prediction) -> Form | None:
    """Return the form that helps, or None where nothing has to be rewritten."""
    if before.status == LoadStatus.LOADS or before.variant == "trusted":
        return None
    variant = scenarios.variants().get(before.variant)
    if variant is not None and variant.form is not None:
        return forms.load()[variant.form]
    if before.status == LoadStatus.DEPENDS:
        raise NoRewriteError(
            f"what {before.release} does with it depends on who saved it: {before.detail}",
            do="Name the saver with --saved-by",
        )
    unknown = before.status == LoadStatus.UNKNOWN
    observed = "nothing like it was measured" if unknown else f"it {before.status.value}"
    raise NoRewriteError(
        f"no rewrite is known to make {before.release} load its FP8 metadata",
        why=f"{observed}: {before.detail}",
        do=before.step
        or "te-matrix inspect shows which releases load it; "
        "--drop-fp8-state gives the FP8 state up",
    )


def _dropping(release: Release) -> Form:
    form = forms.read_by(release.version)
    if form is None:
        raise NoRewriteError(
            f"nobody has looked at how {release.name} reads a module without FP8 state"
        )
    return form


def _change(edit: Edit) -> StateChange:
    lost = _LOST[edit.state.holds] if Step.DROP_STATE in edit.steps else ""
    return StateChange(
        edit.state.module, edit.state.key, edit.new_key, edit.state.file, edit.steps, lost
    )
