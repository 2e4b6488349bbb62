"""The tasks of a run on a Dask cluster: submits them, retries them, and notes the results."""

from __future__ import annotations

import dataclasses
import queue
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from matrix.catalogue.releases import Release
from matrix.catalogue.words import AttemptKind, Lane, RunnerName
from matrix.errors import EngineError, StoreError
from matrix.lane.cluster import worker
from matrix.lane.measure import Result, now
from matrix.lane.run import Run
from matrix.plan.cells import Cell
from matrix.plan.remaining import one_per_state
from matrix.store.records import Attempt, Save
from matrix.system.counting import counted

if TYPE_CHECKING:
    from distributed import Client, Future

RETRIES = 2
"""How often a save or load that failed with ``infra`` is repeated."""

QUEUED_PER_THREAD = 4
"""Tasks submitted per thread of the workers. The others wait here, so that a lost worker takes
few tasks with it."""

REPORT_AFTER = 60.0
"""Seconds without a result after which the run reports what it is waiting for."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One save or one load.

    :param cell: the cell to load; None for a save.
    :param tried: how often it has failed with ``infra``.
    """

    release: Release
    scenario: str
    cell: Cell | None = None
    tried: int = 0

    @property
    def label(self) -> str:
        """Name on the dashboard. It has no hyphen, because the dashboard cuts names there."""
        name = self.cell.id if self.cell else f"{self.scenario}/save/{self.release.name}"
        return name.replace("->", "→").replace("-", "_")


class TaskGraph:
    """The tasks of one run.

    The loads of a scenario are submitted when all its saves are finished, because only then it
    is known which checkpoints have the same state. Each load depends on its save.

    :param name: name of the run on the cluster.
    :param begun: keys of begun tasks and addresses of their workers; updated by this object.
    """

    def __init__(self, client: Client, run: Run, name: str, begun: dict[str, str]) -> None:
        self._client = client
        self._run = run
        self._name = name
        self._begun = begun
        self._events: queue.Queue[Any] = queue.Queue()
        self._submitted: dict[str, tuple[Task, Future]] = {}
        self._saving: dict[tuple[str, str], Future] = {}
        self._waiting: deque[Task] = deque(
            Task(run.plan.releases[name], scenario)
            for name, scenarios in run.saves().items()
            for scenario in scenarios
        )
        self._unsettled = Counter(task.scenario for task in self._waiting)

    def execute(self) -> None:
        """Submit all tasks and note their results."""
        self._run.progress.start("saves", len(self._waiting))
        for scenario in self._run.plan.scenarios:
            if not self._unsettled[scenario]:
                self._add_loads(scenario)
        while self._waiting or self._submitted:
            self._submit()
            self._handle(self._next_event())

    def cancel(self) -> None:
        """Cancel the tasks that are not finished."""
        self._client.cancel([future for _task, future in self._submitted.values()])

    def on_event(self, event: tuple[float, Any]) -> None:
        """Queue an event of the scheduler for the thread that is in :meth:`execute`."""
        self._events.put(event[1])

    # Submitting.

    def _add_loads(self, scenario: str) -> None:
        """Queue the loads of a scenario, one for every state of a checkpoint."""
        due = [cell for cells in self._run.loads().values() for cell in cells]
        wanted = [cell for cell in due if cell.scenario == scenario]
        every_cell = self._run.options.every_cell
        chosen = wanted if every_cell else one_per_state(self._run.index, wanted)
        releases = self._run.plan.releases
        found = [Task(releases[cell.loaded_by], scenario, cell) for cell in chosen]
        self._waiting.extend(found)
        self._run.progress.start(f"loads of {scenario}", len(found))

    def _submit(self) -> None:
        """Submit as many tasks as the workers can take soon."""
        threads = sum(self._client.nthreads().values()) if self._waiting else 0
        while self._waiting and len(self._submitted) < QUEUED_PER_THREAD * max(threads, 1):
            task = self._waiting.popleft()
            key = f"{task.label}-{task.tried}-{self._name}"
            future = self._future(task, key)
            self._submitted[key] = task, future
            future.add_done_callback(self._events.put)

    def _future(self, task: Task, key: str) -> Future:
        options: dict[str, Any] = {"key": key, "resources": self._resources(task), "pure": False}
        what = self._name, key, task.release.name
        if task.cell is None:
            future = self._client.submit(worker.save, *what, task.scenario, **options)
            self._saving[task.scenario, task.release.name] = future
            return future
        saving = self._saving.get((task.scenario, task.cell.saved_by))
        saved = saving or self._run.saved(task.cell)
        return self._client.submit(worker.load, *what, task.cell, saved, **options)

    def _resources(self, task: Task) -> dict[str, float]:
        """Return the Dask resources of a task: a GPU, and an image if workers offer images."""
        plan = self._run.plan
        wanted = {"GPU": 1.0} if plan.lane == Lane.GPU else {}
        if plan.runner == RunnerName.DOCKER and any(
            name.startswith("image-") for offered in self._offered() for name in offered
        ):
            wanted[f"image-{task.release.name}"] = 1.0
        return wanted

    def _offered(self) -> list[dict[str, float]]:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return [worker["resources"] for worker in workers]

    # Results.

    def _next_event(self) -> Any:
        while True:
            try:
                return self._events.get(timeout=REPORT_AFTER)
            except queue.Empty:
                self._run.progress.say(self.waiting_reason())

    def waiting_reason(self) -> str:
        """Return a line of text that says what the run is waiting for."""
        offered = self._offered()
        if not offered:
            return "waiting: the scheduler has no worker"
        for task, _future in self._submitted.values():
            for name, count in self._resources(task).items():
                if not any(have.get(name, 0) >= count for have in offered):
                    return f"waiting: no worker offers {name} (dask worker --resources {name}=1)"
        tasks, workers = counted(len(self._submitted), "task"), counted(len(offered), "worker")
        return f"waiting for {tasks} on {workers}"

    def _handle(self, event: Any) -> None:
        if not isinstance(event, dict):
            self._finished(event)
        elif "began" in event:
            self._begun[event["began"]] = event["worker"]
        elif event.get("action") == "remove-worker":
            self._worker_lost(event["worker"])

    def _worker_lost(self, address: str) -> None:
        """Store an attempt for every task that a lost worker had begun; Dask repeats them."""
        for key, (task, _future) in self._submitted.items():
            if self._begun.get(key) == address:
                del self._begun[key]
                message = f"worker {address} was lost while it was at this"
                self._run.note(self._failed(task, message), final=False)

    def _finished(self, future: Future) -> None:
        task, _future = self._submitted.pop(future.key, (None, None))
        if task is None:
            return
        self._begun.pop(future.key, None)
        result = self._result(task, future)
        if (
            isinstance(result, Attempt)
            and result.kind == AttemptKind.INFRA
            and task.tried < RETRIES
        ):
            self._waiting.appendleft(dataclasses.replace(task, tried=task.tried + 1))
            self._run.note(result, final=False)
            return
        self._run.note(result)
        self._run.progress.step(task.release.name)
        if task.cell is None:
            self._settled(task, result)

    def _settled(self, task: Task, result: Result) -> None:
        if not isinstance(result, Save):
            del self._saving[task.scenario, task.release.name]
        self._unsettled[task.scenario] -= 1
        if not self._unsettled[task.scenario]:
            self._add_loads(task.scenario)

    def _result(self, task: Task, future: Future) -> Result:
        """Return the result of a task; an error of Dask or of the worker is ``infra``.

        :raises StoreError: the worker could not store the result.
        :raises EngineError: the scheduler has lost the task.
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
        index, releases = self._run.index, self._run.plan.releases
        if task.cell is None:
            key = index.save_attempt_key(task.scenario, task.release)
        else:
            saver = releases[task.cell.saved_by]
            key = index.attempt_key(task.scenario, task.cell.variant, saver, task.release)
        attempt = Attempt(key=key, kind=AttemptKind.INFRA, message=message, at=now())
        self._run.store.add_attempt(attempt)
        return attempt
