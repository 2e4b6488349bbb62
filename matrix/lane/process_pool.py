"""A pool of release processes: one or a few per release, started when they are first needed."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Self

from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import SizedScenario
from matrix.errors import LostError, SourceError, SourceUnavailable, WorkerError
from matrix.lane.process import ReleaseProcess
from matrix.lane.runner import Runner
from matrix.lane.sources import CodeSource
from matrix.plan.cells import Plan

_Place = tuple[str, int]
"""The name of a release, and which of its processes."""
_ANY = ""
"""Stands for the scenario of a start that failed before a model was to be built."""


class ProcessPool:
    """Starts processes and remembers start errors. Leaving the context ends all processes.

    Safe to use from any number of threads, each with the releases that it has reserved.

    :param sources: provides the code of releases.
    :param runner: opens the processes; its context is entered and left with the pool's.
    :param timeout: limit for building a scenario's model, in seconds.
    :param most: maximum number of processes at a time; None for no limit.
    :param copies: how many processes a release may have, each for another thread.
    """

    def __init__(
        self,
        plan: Plan,
        sources: CodeSource,
        runner: Runner,
        timeout: float,
        most: int | None = None,
        copies: int = 1,
    ) -> None:
        self._plan = plan
        self._sources = sources
        self._runner = runner
        self._timeout = timeout
        self._most = most
        self._lock = threading.Lock()
        self._free = {name: list(range(copies)) for name in plan.releases}
        self._freed = threading.Condition(self._lock)
        self._mine = threading.local()
        self._processes: OrderedDict[_Place, ReleaseProcess] = OrderedDict()
        self._start_errors: dict[tuple[str, str], WorkerError] = {}
        self._lost_once: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for release in self._plan.releases.values():
            self.end(release)
        self._runner.__exit__(*error)

    @contextlib.contextmanager
    def reserved(self, release: Release) -> Iterator[None]:
        """Reserve a process of a release for this thread; others wait where all are taken.

        A thread gets the process that it had before, which has the model of its scenario; else
        the one that was used last, so that no more are started than work at the same time.
        """
        free = self._free[release.name]
        with self._freed:
            self._freed.wait_for(lambda: bool(free))
            before, number = getattr(self._mine, "place", (_ANY, 0))
            number = number if before == release.name and number in free else free[0]
            free.remove(number)
        self._mine.place = release.name, number
        try:
            yield
        finally:
            with self._freed:
                free.insert(0, number)
                self._freed.notify_all()

    def start_error(self, release: Release, scenario: str) -> WorkerError | None:
        """Return the error of an earlier start that will not be repeated, or None."""
        errors = self._start_errors
        return errors.get((release.name, scenario)) or errors.get((release.name, _ANY))

    def start(self, release: Release, scenario: SizedScenario, *, enter: bool) -> ReleaseProcess:
        """Return the process of a reserved release; start it if it is not running.

        A failed start is not repeated in this run, except once where the process was lost.

        :param enter: whether the scenario's model has to be built.
        :raises WorkerError: the process cannot be started, or cannot build the model.
        """
        start = release.name, _ANY
        try:
            process = self._running() or self._open(release)
            start = release.name, scenario.name
            if enter:
                process.enter(scenario, self._timeout)
        except WorkerError as error:
            if not isinstance(error, LostError) or start in self._lost_once:
                self._start_errors[start] = error
            self._lost_once.add(start)
            raise
        return process

    def end(self, release: Release) -> None:
        """End the processes of a release that are running."""
        with self._lock:
            places = [place for place in self._processes if place[0] == release.name]
            ended = [self._processes.pop(place) for place in places]
        for process in ended:
            process.close()

    def end_reserved(self) -> None:
        """End the process that this thread has reserved, if it is running."""
        self._end(self._mine.place)

    def _running(self) -> ReleaseProcess | None:
        with self._lock:
            if self._mine.place in self._processes:
                self._processes.move_to_end(self._mine.place)
            return self._processes.get(self._mine.place)

    def _open(self, release: Release) -> ReleaseProcess:
        self._make_room()
        try:
            source = self._sources.get(release)
        except (SourceError, SourceUnavailable) as error:
            raise WorkerError(str(error)) from error
        process = self._runner.open(release, source, self._plan.lane)
        with self._lock:
            self._processes[self._mine.place] = process
        return process

    def _make_room(self) -> None:
        """End the least recently used processes that nobody has reserved, until there is room."""
        if self._most is None:
            return
        with self._lock:
            over = len(self._processes) + 1 - self._most
            unused = [(n, number) for n, number in self._processes if number in self._free[n]]
            ended = unused[: max(over, 0)]
            for name, number in ended:
                self._free[name].remove(number)
        for place in ended:
            self._end(place)
        with self._freed:
            for name, number in ended:
                self._free[name].insert(0, number)
            self._freed.notify_all()

    def _end(self, place: _Place) -> None:
        """End one process, if it is running."""
        with self._lock:
            process = self._processes.pop(place, None)
        if process is not None:
            process.close()
