"""The way of a run: fetch sources, save, load; an executor says where and how much at once."""

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
    """Does the saves and loads of one run. A context manager that ends what it has started."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def prepare(self, run: Run) -> None:
        """Start what takes a while. Called as soon as there is something to run, by any thread."""

    def execute(self, run: Run) -> None:
        """Save, then load, and note every result in the run.

        :raises StoreError: a result cannot be kept.
        """


def execute(run: Run, executor: Executor) -> None:
    """Do all that a run has left to do.

    :raises StoreError: a result cannot be kept.
    """
    with executor:
        savers = run.savers()
        _fetch(run, executor, savers.values())
        _fetch(run, executor, run.loaders(savers).values())
        if run.saves() or run.loads():
            executor.execute(run)


def _fetch(run: Run, executor: Executor, releases: Iterable[Release]) -> None:
    """Fetch the sources of releases, in parallel; say which cannot be had."""

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
