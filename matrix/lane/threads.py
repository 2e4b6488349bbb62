"""The executor of this machine: one thread per release, or several where few have much to do."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Self, TypeVar

from matrix.catalogue.releases import Release
from matrix.lane.measure import Measurer
from matrix.lane.run import Run
from matrix.lane.runner import Runner
from matrix.plan.cells import Cell

Item = TypeVar("Item")


class ThreadExecutor:
    """Does all saves, then all loads: releases in parallel, the work of each in order.

    A release that has more than its share of the work is done by several processes, where the
    runner keeps processes: a new release would be done by one core.

    :param runner: opens release processes; its context is entered when the first is needed.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._measurer: Measurer | None = None

    def __enter__(self) -> Self:
        self._held = contextlib.ExitStack()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def prepare(self, run: Run) -> None:
        """Start the runner, unless it is started."""
        self._started(run)

    def _started(self, run: Run) -> Measurer:
        with self._lock:
            if self._measurer is None:
                options = run.options
                made = Measurer(
                    run.plan,
                    run.store,
                    run.sources,
                    self._runner,
                    options.timeout,
                    copies=self._copies(run),
                )
                self._measurer = self._held.enter_context(made)
            return self._measurer

    def execute(self, run: Run) -> None:
        """Do all saves, then all loads.

        :raises StoreError: a result cannot be stored.
        """
        measurer = self._started(run)

        def save(release: Release, scenario: str) -> None:
            run.note(measurer.save(release, scenario))

        def load(release: Release, cell: Cell) -> None:
            if run.is_due(cell):
                run.note(measurer.load(release, cell, run.saved(cell)))

        self._each("saves", run, run.saves(), save, scenario_of=lambda scenario: scenario)
        self._each("loads", run, run.loads(), load, scenario_of=lambda cell: cell.scenario)

    def _copies(self, run: Run) -> int:
        """Return how many processes a release may have."""
        return run.options.jobs if self._runner.resident else 1

    def _each(
        self,
        what: str,
        run: Run,
        work: dict[str, list[Item]],
        do: Callable[[Release, Item], None],
        scenario_of: Callable[[Item], str],
    ) -> None:
        """Do the work of every release: releases in parallel, the work of each in order."""
        whole = sum(len(items) for items in work.values())
        run.progress.start(what, whole)
        share = math.ceil(whole / self._copies(run))
        parts = [(name, part) for name in work for part in divided(work[name], share, scenario_of)]

        def one(name: str, items: list[Item]) -> None:
            for item in items:
                if self._stopping.is_set():
                    return
                do(run.plan.releases[name], item)
                run.progress.step(name)
            if not self._runner.resident:
                self._started(run).end(run.plan.releases[name])

        with ThreadPoolExecutor(run.options.jobs) as pool:
            try:
                for done in as_completed([pool.submit(one, *part) for part in parts]):
                    done.result()
            except BaseException:
                # An interrupt, or a result that cannot be stored: every thread ends
                # after its current cell.
                self._stopping.set()
                raise


def divided(
    items: list[Item], share: int, scenario_of: Callable[[Item], str]
) -> Iterator[list[Item]]:
    """Yield a release's work in parts of at most a share, whole scenarios each.

    What two scenarios load is never the same, so that no part waits for or repeats another's.
    """
    part: list[Item] = []
    for _scenario, group in itertools.groupby(items, key=scenario_of):
        together = list(group)
        if part and len(part) + len(together) > share:
            yield part
            part = []
        part = [*part, *together]
    yield part
