"""The gpu lane without containers: the release that is installed for this interpreter."""

from __future__ import annotations

from matrix.catalogue import releases
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.selection import Selection
from matrix.errors import UsageError
from matrix.lane import device, installed
from matrix.lane.installed import InstalledRelease
from matrix.lane.local import LocalRunner
from matrix.lane.runner import Runner
from matrix.lane.sources import cache_folder
from matrix.store.store import Store
from matrix.workflow.merge import joined

ON_THIS_GPU = "gpu", "local"
"""The lane and runner that run what is installed for this interpreter, on its GPU."""


def known(candidates: tuple[str, ...]) -> Catalogue:
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


def spelled_out(typed: Selection, url: str | None) -> Selection:
    """Say what a selection means in this environment.

    The loader is what is installed here; the savers are that and every release whose
    checkpoints of this lane the store holds. A candidate that is installed here, or was in
    an environment that the store has seen, is named so that others can read it.

    :param url: the store, if there is one.
    :raises DeviceError: nothing is installed here.
    """
    store = Store(url) if url else None
    last = store.remembered() if store else None
    before = last.candidate if last and (last.lane, last.runner) == ON_THIS_GPU else ()
    candidates = dict.fromkeys((*typed.candidate, *before))
    here = installed.find(known(tuple(candidates))).release
    if here.candidate:
        candidates[str(here.path)] = None
    names = known(tuple(candidates)).names()
    saved = {
        save.release
        for saves in (store.saves() if store else {}).values()
        for save in saves
        if save.lane == "gpu"
    }
    savers = [name for name in names if name in {*saved, here.name}]
    return typed.model_copy(
        update={
            "candidate": tuple(candidates),
            "saved_by": typed.saved_by or typed.releases or ",".join(savers),
            "loaded_by": typed.loaded_by or typed.releases or here.name,
            "releases": None,
            "lane": ON_THIS_GPU[0],
            "runner": ON_THIS_GPU[1],
        }
    )


def together(store: Store, typed: Selection) -> Selection:
    """Return what the runs of all environments into one store select together."""
    last = store.remembered()
    return (joined([last, typed]) if last else None) or typed


def known_here(candidates: tuple[str, ...]) -> InstalledRelease:
    """Return what is installed here.

    :raises DeviceError: nothing is.
    """
    return installed.find(known(candidates))


def runner(candidates: tuple[str, ...], gpu: str | None) -> tuple[InstalledRelease, Runner]:
    """Return what is installed here and its runner, the GPU found good enough.

    :raises DeviceError: there is no GPU, or it cannot do FP8 attention.
    """
    here = known_here(candidates)
    device.require(gpu)
    return here, LocalRunner(cache_folder() / "logs", gpu)
