"""The gpu lane without containers: one release, installed for this interpreter, on its GPU."""

from __future__ import annotations

from matrix.catalogue import releases
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.selection import Selection
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import UsageError
from matrix.lane import device, installed
from matrix.lane.installed import InstalledRelease
from matrix.lane.local import LocalRunner
from matrix.lane.runner import Runner
from matrix.lane.sources import cache_folder
from matrix.store.store import Store
from matrix.workflow.merge import joined

LOCAL_GPU = Lane.GPU, RunnerName.LOCAL
"""The lane and the runner that use the release installed for this interpreter."""


def catalogue(candidates: tuple[str, ...]) -> Catalogue:
    """Return the catalogue with installed candidates, as :func:`installed.read` has them.

    :raises UsageError: a candidate is anything else.
    """
    found = releases.load()
    for text in candidates:
        release = installed.read(text)
        if release is None:
            raise UsageError(
                f"--candidate {text} does not run in this interpreter on a GPU",
                do="Install it here: what is installed takes part, catalogued or not",
            )
        found = found.with_candidate(release)
    return found


def find_installed(candidates: tuple[str, ...]) -> InstalledRelease:
    """Return the release that is installed for this interpreter.

    :raises DeviceError: none is.
    """
    return installed.find(catalogue(candidates))


def spelled_out(
    selection: Selection, store: Store | None, *, everything: bool = False
) -> Selection:
    """Return a selection with its savers, loaders and installed candidates named.

    The loader is the installed release; the savers are that and every release whose
    checkpoints of this lane the store holds. Candidates that were installed where earlier
    runs into the store took place are named too, so that others can read what they saved.

    :param everything: whether a selection that names no release means all of them.
    :raises DeviceError: no release is installed.
    """
    last = store.remembered() if store else None
    before = last.candidate if last and (last.lane, last.runner) == LOCAL_GPU else ()
    candidates = dict.fromkeys((*selection.candidate, *before))
    here = find_installed(tuple(candidates)).release
    if here.candidate:
        candidates[str(here.path)] = None
    saved = {
        save.release
        for saves in (store.saves() if store else {}).values()
        for save in saves
        if save.lane == Lane.GPU
    }
    names = catalogue(tuple(candidates)).names()
    savers = names if everything else [name for name in names if name in {*saved, here.name}]
    loaders = names if everything else [here.name]
    return selection.model_copy(
        update={
            "candidate": tuple(candidates),
            "saved_by": selection.saved_by or selection.releases or ",".join(savers),
            "loaded_by": selection.loaded_by or selection.releases or ",".join(loaders),
            "releases": None,
            "lane": LOCAL_GPU[0],
            "runner": LOCAL_GPU[1],
        }
    )


def joined_with_last(selection: Selection, store: Store) -> Selection:
    """Return what the store's last run and this one select together.

    Each environment runs the one release that it has, so that a store fills run by run.
    """
    last = store.remembered()
    return (joined([last, selection]) if last else None) or selection


def runner(candidates: tuple[str, ...], gpu: str | None) -> tuple[InstalledRelease, Runner]:
    """Return the installed release and its runner, after checking the GPU.

    :raises DeviceError: there is no GPU, or it cannot do FP8 attention.
    """
    found = find_installed(candidates)
    device.require(gpu)
    return found, LocalRunner(cache_folder() / "logs", gpu)
