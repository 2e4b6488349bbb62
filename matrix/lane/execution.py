"""The steps of a run: fetch sources, save, load. An executor does the saving and loading."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, Self

from matrix.catalogue.releases import Release
from matrix.catalogue.words import AttemptKind
from matrix.errors import MatrixError, SourceUnavailable
from matrix.lane.run import Run
from matrix.plan.remaining import grouped


class Executor(Protocol):
    """Does the saves and loads of one run. Leaving the context ends what was started."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def prepare(self, run: Run) -> None:
        """Start what takes long to start. Called by any thread once there is something to run."""

    def execute(self, run: Run) -> None:
        """Do all saves and loads that are left, and note every result in the run.

        :raises StoreError: a result cannot be stored.
        """


def execute(run: Run, executor: Executor) -> None:
    """Do everything that is left to do in a run.

    :raises StoreError: a result cannot be stored.
    """
    with executor:
        savers = run.savers()
        loaders = run.loaders(savers)
        if not (savers or loaders):
            return
        _fetch(run, executor, savers.values())
        _fetch(run, executor, loaders.values())
        if run.saves() or run.loads():
            executor.execute(run)


def _fetch(run: Run, executor: Executor, releases: Iterable[Release]) -> None:
    """Fetch the sources of releases in parallel, and report those that cannot be fetched."""

    def fetch(release: Release) -> tuple[str, str] | None:
        try:
            run.sources.get(release)
        except MatrixError as error:
            away = isinstance(error, SourceUnavailable)
            kind = AttemptKind.UNAVAILABLE if away else AttemptKind.INFRA
            run.note_no_source(release, kind, str(error))
            return str(error), release.name
        run.note_source(release)
        executor.prepare(run)
        return None

    left = [release for release in releases if run.has_source(release) is None]
    with ThreadPoolExecutor(max(run.options.jobs, 4)) as pool:
        refused = [found for found in pool.map(fetch, left) if found]
    for message, names in grouped(refused).items():
        run.progress.say(f"{message} Without source: {', '.join(sorted(names))}.")
