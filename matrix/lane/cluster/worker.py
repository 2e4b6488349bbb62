"""What a Dask worker keeps during a run: a runner of its own and the shared store."""

from __future__ import annotations

import dataclasses
import threading

from distributed import Worker, WorkerPlugin, get_worker

from matrix.errors import WorkerError
from matrix.lane.environment import worker_digest
from matrix.lane.measure import Measurer
from matrix.lane.runner import MakeRunner
from matrix.plan.cells import Cell, Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store.records import Attempt, Load, Save
from matrix.store.store import Store

RESIDENT = 8
"""Release processes that a worker keeps. Loads are sorted by release, so that few suffice."""


@dataclasses.dataclass(frozen=True)
class WorkerConfig:
    """Settings of a run, for all workers.

    :param run: name of the run on the cluster.
    :param store: URL of the store.
    :param make_runner: makes the runner of a worker; it is called there.
    :param timeout: limit for one save or load, in seconds.
    :param worker: digest of the worker's files on the machine that started the run; other
        installations are refused, because they might measure something else.
    """

    run: str
    plan: Plan
    store: str
    make_runner: MakeRunner
    timeout: float
    worker: str


class ClusterWorker(WorkerPlugin):  # type: ignore[misc]  # Dask has no types
    """A plugin that does tasks on a Dask worker. The first task starts the runner.

    The runner ends with the worker, even if that is killed: release processes end when their
    sockets are closed.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.name = config.run
        self._config = config

    def setup(self, worker: Worker) -> None:
        """Remember the worker; the runner is not started yet."""
        self._address = worker.address
        self._worker = worker
        self._lock = threading.Lock()
        self._measurer: Measurer | None = None

    def teardown(self, worker: Worker) -> None:
        """End the runner and its processes."""
        with self._lock:
            if self._measurer is not None:
                self._measurer.__exit__()
                self._measurer = None

    def save(self, key: str, release: str, scenario: str) -> Save | Attempt:
        """Have a release save, unless the store holds its save already.

        :param key: key of the task.
        :raises WorkerError: this worker cannot take part.
        """
        measurer = self._begin(key)
        plan = self._config.plan
        wanted = EvidenceIndex(plan, None, None).save_key(scenario, plan.releases[release])
        own = [save for save in self._store.saved(wanted) if save.provenance.runner == plan.runner]
        return own[0] if own else measurer.save(plan.releases[release], scenario)

    def load(self, key: str, release: str, cell: Cell, saved: Save) -> Load | Attempt:
        """Have a release load a checkpoint.

        :param key: key of the task.
        :raises WorkerError: this worker cannot take part.
        """
        return self._begin(key).load(self._config.plan.releases[release], cell, saved)

    def _begin(self, key: str) -> Measurer:
        """Report that a task has begun, and return the measurer.

        :raises WorkerError: this worker cannot take part.
        """
        self._worker.log_event(self.name, {"began": key, "worker": self._address})
        with self._lock:
            if self._measurer is None:
                self._measurer = self._open()
            return self._measurer

    def _open(self) -> Measurer:
        config = self._config
        if worker_digest() != config.worker:
            raise WorkerError(
                f"worker {self._address} has another te-matrix than the one that started the run",
                do="Install the same version on every worker",
            )
        self._store = Store(config.store)
        if not self._store.exists():
            raise WorkerError(
                f"worker {self._address} does not see the store {config.store}",
                why="it is a folder of another machine",
                do="Give --store a URL, or a folder that all machines share",
            )
        sources, runner = config.make_runner()
        most = RESIDENT if runner.resident else 1
        measurer = Measurer(config.plan, self._store, sources, runner, config.timeout, most)
        return measurer.__enter__()


def save(run: str, key: str, release: str, scenario: str) -> Save | Attempt:
    """Save on the worker that runs this task."""
    return _worker(run).save(key, release, scenario)


def load(run: str, key: str, release: str, cell: Cell, saved: Save) -> Load | Attempt:
    """Load on the worker that runs this task."""
    return _worker(run).load(key, release, cell, saved)


def _worker(run: str) -> ClusterWorker:
    worker: ClusterWorker = get_worker().plugins[run]
    return worker
