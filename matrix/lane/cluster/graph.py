"""A run whose saves and loads are tasks of a Dask cluster."""

from __future__ import annotations

import dataclasses
import queue
import uuid
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from matrix.catalogue.releases import Release
from matrix.errors import EngineError, StoreError
from matrix.lane.cluster import station
from matrix.lane.cluster.station import Orders, RunnerFactory, Station
from matrix.lane.measure import Result, now
from matrix.lane.process import worker_digest
from matrix.lane.run import Run
from matrix.plan.cells import Cell
from matrix.plan.remaining import one_per_state
from matrix.store.records import Attempt, Save

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 2
"""How often a save or load that came to ``infra`` is tried again."""

AHEAD = 4
"""Tasks handed to the scheduler for every thread of its workers. The rest waits here, so
that a worker that is lost takes few tasks with it."""

PATIENCE = 60.0
"""Seconds without any result after which the run says what it is waiting for."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One save, or one load, and how often it has come to ``infra``."""

    release: Release
    scenario: str
    cell: Cell | None = None
    tried: int = 0

    @property
    def label(self) -> str:
        """What the dashboard shows: it cuts a name at the first hyphen, so there is none."""
        name = self.cell.id if self.cell else f"{self.scenario}/save/{self.release.name}"
        return name.replace("->", "→").replace("-", "_")


class ClusterRun(Run):
    """Brings a store up to date with a plan on a Dask cluster.

    A scenario's loads follow when all its saves are settled, as only then it is known which
    savers wrote the very same state; each depends on the save that it loads.
    """

    def on(self, client: Client, opening: RunnerFactory) -> ClusterRun:
        """Take the cluster to run on.

        :param opening: called on each worker; what it returns is used there.
        """
        self._client = client
        self._opening = opening
        self.begun: dict[str, str] = {}
        return self

    def _begin(self) -> None:
        """Start nothing here: the cluster's workers do."""

    def _execute(self, by_saver: dict[str, list[str]]) -> None:
        self._run = f"te-matrix-{uuid.uuid4().hex[:12]}"
        self._news: queue.Queue[Any] = queue.Queue()
        self._flying: dict[str, tuple[Task, Future]] = {}
        self._saving: dict[tuple[str, str], Future] = {}
        saves = [
            Task(self.plan.releases[name], scenario)
            for name, scenarios in by_saver.items()
            for scenario in scenarios
        ]
        self._waiting: deque[Task] = deque(saves)
        self._unsettled = Counter(task.scenario for task in saves)
        self._client.register_plugin(Station(self._orders()))
        for topic in (self._run, "all"):
            self._client.subscribe_topic(topic, self._heard)
        try:
            self._progress.start("saves", len(saves))
            for scenario in self.plan.scenarios:
                if not self._unsettled[scenario]:
                    self._add_loads(scenario)
            while self._waiting or self._flying:
                self._submit()
                self._take(self._next_news())
        finally:
            self._client.cancel([future for _task, future in self._flying.values()])
            for topic in (self._run, "all"):
                self._client.unsubscribe_topic(topic)
            self._client.unregister_worker_plugin(self._run)

    def _orders(self) -> Orders:
        plan = dataclasses.replace(self.plan, cells=())
        store, timeout = self.store.absolute, self._options.timeout
        return Orders(self._run, plan, store, self._opening, timeout, worker_digest())

    # What there is to do.

    def _add_loads(self, scenario: str) -> None:
        """Queue a scenario's loads, release by release, one for every state."""
        live = [cell for cells in self._live_loads().values() for cell in cells]
        wanted = [cell for cell in live if cell.scenario == scenario]
        chosen = wanted if self._options.every_cell else one_per_state(self.index, wanted)
        found = [Task(self.plan.releases[cell.loaded_by], scenario, cell) for cell in chosen]
        self._waiting.extend(found)
        self._progress.start(f"loads of {scenario}", len(found))

    def _submit(self) -> None:
        """Hand the scheduler what it should know of by now."""
        threads = sum(self._client.nthreads().values()) if self._waiting else 0
        while self._waiting and len(self._flying) < AHEAD * max(threads, 1):
            task = self._waiting.popleft()
            key = f"{task.label}-{task.tried}-{self._run}"
            future = self._submitted(task, key)
            self._flying[key] = task, future
            future.add_done_callback(self._news.put)

    def _submitted(self, task: Task, key: str) -> Future:
        options: dict[str, Any] = {"key": key, "resources": self._resources(task), "pure": False}
        name = task.release.name
        if task.cell is None:
            future = self._client.submit(
                station.save, self._run, key, name, task.scenario, **options
            )
            self._saving[task.scenario, name] = future
            return future
        saved = self._saving.get((task.scenario, task.cell.saved_by)) or self._saved(task.cell)
        return self._client.submit(station.load, self._run, key, name, task.cell, saved, **options)

    def _resources(self, task: Task) -> dict[str, float]:
        """Return what a worker must have: a GPU in its lane, the image where workers name any."""
        wanted = {"GPU": 1.0} if self.plan.lane == "gpu" else {}
        if self.plan.runner == "docker" and any(
            name.startswith("image-") for offered in self._offered() for name in offered
        ):
            wanted[f"image-{task.release.name}"] = 1.0
        return wanted

    def _offered(self) -> list[dict[str, float]]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return [worker["resources"] for worker in workers]

    # What is heard of it.

    def _heard(self, event: tuple[float, Any]) -> None:
        """Pass an event of the scheduler on to the thread that runs all this."""
        self._news.put(event[1])

    def _next_news(self) -> Any:
        while True:
            try:
                return self._news.get(timeout=PATIENCE)
            except queue.Empty:
                self._progress.say(self._why_nothing_comes())

    def _why_nothing_comes(self) -> str:
        offered = self._offered()
        if not offered:
            return "waiting: the scheduler has no worker"
        for task, _future in self._flying.values():
            for name, count in self._resources(task).items():
                if not any(have.get(name, 0) >= count for have in offered):
                    return f"waiting: no worker offers {name} (dask worker --resources {name}=1)"
        return f"waiting for {len(self._flying)} tasks on {len(offered)} workers"

    def _take(self, news: Any) -> None:
        if not isinstance(news, dict):
            self._finished(news)
        elif "began" in news:
            self.begun[news["began"]] = news["worker"]
        elif news.get("action") == "remove-worker":
            self._worker_lost(news["worker"])

    def _worker_lost(self, address: str) -> None:
        """Keep an attempt for everything that a lost worker was at; Dask tries it again."""
        for key, (task, _future) in self._flying.items():
            if self.begun.get(key) == address:
                del self.begun[key]
                self._failed(task, f"worker {address} was lost while it was at this")

    def _finished(self, future: Future) -> None:
        task, _future = self._flying.pop(future.key, (None, None))
        if task is None:
            return
        self.begun.pop(future.key, None)
        result = self._result(task, future)
        if isinstance(result, Attempt) and result.kind == "infra" and task.tried < RETRIES:
            self._waiting.appendleft(dataclasses.replace(task, tried=task.tried + 1))
            return
        self._note(result)
        self._progress.step(task.release.name)
        if task.cell is None:
            self._settled(task, result)

    def _settled(self, task: Task, result: Result) -> None:
        if not isinstance(result, Save):
            del self._saving[task.scenario, task.release.name]
        self._unsettled[task.scenario] -= 1
        if not self._unsettled[task.scenario]:
            self._add_loads(task.scenario)

    def _result(self, task: Task, future: Future) -> Result:
        """Return what a task came to; what Dask or the worker itself failed at is ``infra``.

        :raises StoreError: a worker could not keep a result.
        :raises EngineError: the scheduler has forgotten the task.
        """
        if future.status == "finished":
            result: Result = future.result()
            return result
        if future.status != "error":
            raise EngineError(
                f"the scheduler no longer knows {task.label} ({future.status})",
                why="it was restarted, or somebody cancelled the task",
                do="Run again: what is finished is kept",
            )
        error = future.exception()
        if isinstance(error, StoreError):
            raise error
        return self._failed(task, f"{type(error).__name__}: {error}")

    def _failed(self, task: Task, message: str) -> Attempt:
        if task.cell is None:
            key = self.index.save_attempt_key(task.scenario, task.release)
        else:
            saver = self.plan.releases[task.cell.saved_by]
            key = self.index.attempt_key(task.scenario, task.cell.variant, saver, task.release)
        attempt = Attempt(key=key, kind="infra", message=message, at=now())
        self.store.add_attempt(attempt)
        return attempt
