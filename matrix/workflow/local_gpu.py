"""The gpu lane without containers: the release that is installed for this interpreter."""

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
"""The lane and the runner that measure the installed release."""


def catalogue(candidates: tuple[str, ...]) -> Catalogue:
    """Return the catalogue with candidates that are, or were elsewhere, installed.

    :param candidates: texts that :func:`installed.read` reads.
    :raises UsageError: a text is none.
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

    :param candidates: the candidates that it may be, as for :func:`catalogue`.
    :raises DeviceError: no Transformer Engine is installed.
    """
    return installed.find(catalogue(candidates))


def spelled_out(
    selection: Selection, store: Store | None, *, everything: bool = False
) -> Selection:
    """Return a selection with its savers, loaders and candidates named.

    By default the loader is the installed release; the savers are the installed release and
    every release that has a checkpoint of this lane in the store. The candidates include
    those of earlier runs into the store, which were installed in other environments.

    :param everything: whether all releases save and load by default.
    :raises DeviceError: no Transformer Engine is installed.
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
    """Return the union of a selection and that of the last run into the store.

    Every environment measures the one release that it has, so that a report on all of them
    needs the union.
    """
    last = store.remembered()
    return (joined([last, selection]) if last else None) or selection


def runner(candidates: tuple[str, ...], gpu: str | None) -> tuple[InstalledRelease, Runner]:
    """Return the installed release and a runner for it, after checking the GPU.

    :param gpu: index or UUID of the GPU; None for the first in CUDA_VISIBLE_DEVICES.

    :raises DeviceError: there is no GPU, or it cannot do FP8 attention.
    """
    found = find_installed(candidates)
    device.require(gpu)
    return found, LocalRunner(cache_folder() / "logs", gpu)
