"""``remap``: a checkpoint rewritten for a release, as the matrix has seen it work."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.releases import Catalogue, Release
from matrix.checkpoint import files, forms, publish
from matrix.checkpoint.forms import Edit, Form
from matrix.checkpoint.limits import CheckpointError
from matrix.checkpoint.publish import Unchanged
from matrix.checkpoint.scan import Scan, scan
from matrix.checkpoint.states import ExtraState
from matrix.doctor import writers
from matrix.doctor.targets import Answers, Target
from matrix.doctor.verify import verify
from matrix.errors import ExitCode, MatrixError
from matrix.lane.sources import FetchedSources
from matrix.store.store import Store
from matrix.system.progress import Progress


class NoRewriteError(MatrixError):
    """A checkpoint that no rewrite is known to help in the release asked for."""

    exit_code = ExitCode.DEVIATES


@dataclasses.dataclass(frozen=True)
class Change:
    """What becomes of one module's extra state: its keys, and the steps, by name.

    ``new_key`` is None where the state is left out. ``lost`` says what is given up.
    """

    module: str
    key: str
    new_key: str | None
    file: str
    steps: tuple[str, ...]
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
    before: Target
    form: str | None
    changes: tuple[Change, ...]
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
    found = scan(path)
    before = _before(found, release, known, saved_by, store)
    plan = Remapped(path, out, to, before, None, ())
    form = _dropping(release) if drop_fp8_state else _rewriting(before)
    if form is None:
        return dataclasses.replace(plan, opt_in=before.opt_in)
    edits = forms.plan(found.states, form, drop=drop_fp8_state)
    changes = tuple(_change(edit) for edit in edits if edit.changes)
    opt_in = (
        None
        if drop_fp8_state and release.opt_in and form.nothing == "empty tensor"
        else (release.opt_in)
    )
    plan = dataclasses.replace(plan, form=form.name, changes=changes, opt_in=opt_in)
    if dry_run or not changes:
        return plan
    verified = _write(
        found,
        edits,
        form,
        release,
        out,
        unchanged,
        sources or FetchedSources(),
        progress or Progress(),
    )
    return dataclasses.replace(plan, written=True, verified=verified)


def _before(
    found: Scan, release: Release, known: Catalogue, saved_by: str | None, store: Store | None
) -> Target:
    savers: Sequence[Release] = (
        [known[saved_by]] if saved_by else writers.find(found, known).releases
    )
    answers = Answers(found, savers, faq.load(), store)
    return answers.all([release])[0]


def _rewriting(before: Target) -> Form | None:
    """Return the form that helps, or None where nothing has to be rewritten."""
    if before.status == "loads" or before.variant == "trusted":
        return None
    variant = scenarios.variants().get(before.variant)
    if variant is not None and variant.form is not None:
        return forms.load()[variant.form]
    if before.status == "depends":
        raise NoRewriteError(
            f"what {before.release} does with it depends on who saved it: {before.detail}",
            do="Name the saver with --saved-by",
        )
    raise NoRewriteError(
        f"no rewrite is known to make {before.release} load its FP8 metadata",
        why=f"it {before.status}: {before.detail}"
        if before.status != "unknown"
        else f"nothing like it was measured: {before.detail}",
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


def _change(edit: Edit) -> Change:
    lost = ""
    if "drop-state" in edit.steps:
        lost = {
            "metadata": "scales and amaxes",
            "defaults": "nothing but defaults",
            "unreadable": "what could not be read",
            "nothing": "nothing",
        }[edit.state.holds]
    return Change(
        edit.state.module, edit.state.key, edit.new_key, edit.state.file, edit.steps, lost
    )


def _write(
    found: Scan,
    edits: list[Edit],
    form: Form,
    release: Release,
    out: Path,
    unchanged: Unchanged,
    sources: FetchedSources,
    progress: Progress,
) -> str:
    """Write, read back, try, and only then give the result its name."""
    path = found.path
    if path.is_dir():
        publish.check(path, out, files.folder_size(path, edits, unchanged))
        with publish.new_folder(out) as folder:
            files.write_folder(path, folder, edits, form, unchanged, progress)
            return _check(found, folder, out.name, edits, form, release, sources)
    publish.check(path, out, files.size(path, edits))
    with publish.new_file(out) as (stream, readable):
        meter = files.Meter(progress, files.PASSES * path.stat().st_size)
        files.write_file(path, stream, edits, path.name, meter)
        stream.flush()
        return _check(found, readable, path.name, edits, form, release, sources)


def _check(
    found: Scan,
    new: Path,
    name: str,
    edits: Sequence[Edit],
    form: Form,
    release: Release,
    sources: FetchedSources,
) -> str:
    """See that what was written holds the same metadata, and that the release takes it."""
    written = scan(new, name)
    after = {(state.file, state.inside, state.key): state for state in written.states}
    kept = [edit for edit in edits if edit.new_key is not None]
    if len(written.states) != len(kept) or written.keys != found.keys - (len(edits) - len(kept)):
        raise CheckpointError("what was written has other keys than it should", do="Report it")
    for edit in kept:
        state = after.get((_file(edit), edit.state.inside, str(edit.new_key)))
        if state is None or not _carries(state, edit):
            raise CheckpointError(
                f"what was written under {edit.new_key} is not what was there", do="Report it"
            )
    return verify(written.states, release, form, sources)


def _file(edit: Edit) -> str:
    return files.new_name(edit)


def _carries(state: ExtraState, edit: Edit) -> bool:
    """Tell whether a written state holds what the edit was to keep."""
    if "drop-state" in edit.steps:
        return state.holds == "nothing"
    before = {k: v.numbers for k, v in edit.state.tensors.items() if not k.startswith("scale_inv")}
    after = {k: v.numbers for k, v in state.tensors.items() if not k.startswith("scale_inv")}
    return before == after and not state.problem
