"""The functions ``check`` and ``repair``: state dicts in memory, before ``load_state_dict``.

For those who load through a framework, and hold a state dict rather than a file::

    from matrix.doctor import check, repair

    check(state_dict)                                   # warns of what would be lost
    model.load_state_dict(repair(state_dict, to="2.3"))
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

from matrix.catalogue import releases, scenarios
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import REWRITE
from matrix.checkpoint import dropping, in_memory_edits
from matrix.checkpoint import edits as planning
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.in_memory import InMemory
from matrix.checkpoint.rewriting import carries
from matrix.doctor import remapping, requantizing, writers
from matrix.doctor.predictions import Prediction, Predictor
from matrix.doctor.sightings import LoadStatus
from matrix.errors import UsageError
from matrix.lane import installed
from matrix.store.store import Store

StateDict = TypeVar("StateDict")
"""A state dict, or what a framework keeps one in: mappings, lists, tuples and objects."""

_WHAT = Path("the state dict")
_WOULD = {
    LoadStatus.FAILS: "does not load this state dict",
    LoadStatus.RESETS: "silently resets FP8 metadata of this state dict",
    LoadStatus.FROZEN: "loads FP8 metadata of this state dict that no step will update",
    LoadStatus.DEPENDS: "may not load this state dict as it is, depending on who saved it",
    LoadStatus.UNKNOWN: "was not seen to load a state dict like this one, so it is not known",
}


class CheckpointWarning(UserWarning):
    """A release would refuse, reset or freeze FP8 state, or it is not known what it would do."""


def check(
    state_dict: object,
    loaded_by: str | None = None,
    *,
    saved_by: str | None = None,
    allow: Collection[str] = (),
    store: Store | None = None,
) -> Prediction:
    """Return what a release does with a state dict, and warn where that is not simply to load it.

    The answer is that of :func:`inspect` on a file with the same content. Nothing is unpickled,
    PyTorch is not imported, and of the tensors only the bytes of extra states are read.

    :param state_dict: the state dict, or what a framework keeps it in.
    :param loaded_by: the release that will load it; by default the one that is installed.
    :param saved_by: the release that wrote it, if that is known.
    :param allow: names in its extra states, without ``()``, that are not to be warned of.
    :param store: evidence in addition to what is recorded.
    :raises CheckpointError: an extra state in it is made to do harm, or cannot be read.
    :raises UsageError: a release is unknown.
    :raises DeviceError: no release is named, and none is installed.
    """
    release = _release(loaded_by)
    contents = InMemory(state_dict).read()
    made = _predict(contents, release, saved_by, store)
    for text in _warnings(made, contents, allow):
        warnings.warn(text, CheckpointWarning, stacklevel=2)
    return made


def repair(
    state_dict: StateDict,
    to: str | None = None,
    *,
    saved_by: str | None = None,
    drop_fp8_state: bool | str | Collection[str] = False,
    allow: Collection[str] = (),
    store: Store | None = None,
) -> StateDict:
    """Return a state dict that a release loads with its FP8 metadata, and goes on updating.

    What is rewritten is what :func:`remap` rewrites in a file, by the same steps. The given state
    dict stays as it is; weights, and whatever else does not change, are the same objects in both,
    and containers are of the same classes. Rewritten extra states are byte tensors. If the release
    loads the state dict as it is, that itself is returned.

    :param state_dict: the state dict, or what a framework keeps it in.
    :param to: the release that will load it; by default the one that is installed.
    :param saved_by: the release that wrote it, if that is known.
    :param drop_fp8_state: remove FP8 state instead, so that strict loading works; see
        :func:`remap`.
    :param allow: names in its extra states, without ``()``, that may be handed on.
    :param store: evidence in addition to what is recorded.
    :raises NoRewriteError: no rewrite is known to help.
    :raises CheckpointError: an extra state cannot be read, or loading it would run code.
    :raises UsageError: a release is unknown.
    :raises DeviceError: no release is named, and none is installed.
    """
    release = _release(to)
    memory = InMemory(state_dict)
    contents = memory.read()
    remapping.refuse_unsafe(_WHAT, contents.unsafe_names(allow))
    edits = _edits(contents, release, saved_by, store, dropping.names(drop_fp8_state))
    if not any(edit.changes for edit in edits):
        return state_dict
    made: StateDict = in_memory_edits.apply(memory, edits)
    _check(contents, edits, InMemory(made).read())
    return made


# What is asked of the modules on files: their functions are called here and nowhere else.


def _predict(
    contents: Contents, release: Release, saved_by: str | None, store: Store | None
) -> Prediction:
    savers = writers.find(contents, releases.load(), saved_by).releases
    (made,) = Predictor(contents, savers, store).all([release])
    return made


def _edits(
    contents: Contents,
    release: Release,
    saved_by: str | None,
    store: Store | None,
    drop: Collection[str],
) -> Sequence[Edit]:
    """Return the edits that make a release load a state dict; none where it needs none.

    :raises NoRewriteError: no rewrite is known to help.
    :raises LossError: the release has no place for what the state dict holds.
    """
    form = remapping.form_of(release)
    if dropping.ALL in drop:
        _refuse_weights(contents, release)
        return planning.plan(contents, form, drop=drop)
    made = _predict(contents, release, saved_by, store)
    fine = remapping.is_fine(made)
    if fine and not drop:
        return ()
    _refuse_weights(contents, release)
    # Nothing is asked of the release here, so that only what the matrix has seen to help counts.
    proven = fine or made.variant.startswith(REWRITE)
    edits = planning.plan(contents, form, drop=drop) if proven else ()
    if not any(edit.changes for edit in edits):
        raise remapping.no_rewrite(made)
    return edits


def _refuse_weights(contents: Contents, release: Release) -> None:
    """Refuse quantized weights that are of another form than a release pickles.

    :raises NoRewriteError: there are some.
    """
    if contents.weights and requantizing.change(contents, release, None, ()) is not None:
        raise remapping.NoRewriteError(
            f"the state dict holds quantized weights, not as {release.name} has them",
            why="they are objects of the Transformer Engine that is imported here, whose classes "
            "no other release shares; in a file they can be rewritten",
            do=f"Rewrite the file with te-matrix remap IN OUT --to {release.name}",
        )


def _release(name: str | None) -> Release:
    known = releases.load()
    if name is not None:
        return known[name]
    found = installed.find(known).release
    if found.name not in {release.name for release in known.releases}:
        raise UsageError(
            f"the Transformer Engine that is installed, {found.name}, is none of the catalogue's",
            do="Name the release that it is closest to",
        )
    return found


def _warnings(made: Prediction, contents: Contents, allow: Collection[str]) -> Sequence[str]:
    found = []
    if names := contents.unsafe_names(allow):
        found.append(
            f"loading the extra states of this state dict would import or call {', '.join(names)}: "
            "they were made to do harm, or hold objects of a program of your own"
        )
    if made.status in _WOULD and contents.states:
        detail = f": {made.detail}" if made.detail else ""
        found.append(f"{made.release} {_WOULD[made.status]}{detail}. {_step(made)}".strip())
    return found


def _step(made: Prediction) -> str:
    """Return what to do, with a state dict in hand rather than a file."""
    variant = scenarios.variants().get(made.variant)
    of_weights = variant is not None and variant.weights is not None
    if of_weights or not (made.variant == "remapped" or made.variant.startswith(REWRITE)):
        return f"{made.step}." if made.step else ""
    opt_in = f", and set {made.opt_in}=1 if you trust it" if made.opt_in else ""
    drop = f", drop_fp8_state={list(made.drop)}" if made.drop else ""
    return f'Load matrix.doctor.repair(state_dict, to="{made.release}"{drop}){opt_in}.'


def _check(before: Contents, edits: Sequence[Edit], after: Contents) -> None:
    """Check that every state is there under its key, with the metadata that it was to keep.

    :raises CheckpointError: one is not.
    """
    kept = [edit for edit in edits if edit.new_key is not None]
    states = {(state.inside, state.key): state for state in after.states}
    for edit in kept:
        state = states.get((edit.state.inside, str(edit.new_key)))
        if state is None or not carries(state, edit):
            raise CheckpointError(
                f"what was made under {edit.new_key} is not what was there", do="Report it"
            )
    if len(after.states) != len(kept) or len(after.foreign) != len(before.foreign):
        raise CheckpointError("what was made has other keys than it should", do="Report it")
