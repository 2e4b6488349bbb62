"""What a Dask worker has for the length of a run: a host of its own, and the shared store."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from distributed import Worker, WorkerPlugin, get_worker

from matrix.errors import WorkerError
from matrix.lane.measure import Measurer
from matrix.lane.process import Runner, worker_digest
from matrix.lane.sources import CodeSource
from matrix.plan.cells import Cell, Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store.records import Attempt, Load, Save
from matrix.store.store import Store

RESIDENT = 8
"""Release processes that a worker keeps; loads come release by release, so few are enough."""

RunnerFactory = Callable[[], tuple[CodeSource, Runner]]
"""Says, on the worker, where the code of releases is, and what runs it."""


@dataclasses.dataclass(frozen=True)
class Orders:
    """What every worker of a run is told.

    :param worker: digest of the worker's files where the run was started; a Dask worker with
        another installation would measure something else.
    """

    run: str
    plan: Plan
    store: str
    opening: RunnerFactory
    timeout: float
    worker: str


class Station(WorkerPlugin):  # type: ignore[misc]  # Dask has no types
    """Opens its host with the first task, so that a worker that gets none pays for none.

    The host ends with the worker: its processes end when their sockets close, and so when
    the Dask worker is killed, too.
    """

    def __init__(self, orders: Orders) -> None:
        self.name = orders.run
        self._orders = orders

    def setup(self, worker: Worker) -> None:
        """Note where this is; nothing is opened yet."""
        self._address = worker.address
        self._worker = worker
        self._lock = threading.Lock()
        self._measurer: Measurer | None = None

    def teardown(self, worker: Worker) -> None:
        """End the host and its processes."""
        with self._lock:
            if self._measurer is not None:
                self._measurer.__exit__()
                self._measurer = None

    def save(self, key: str, release: str, scenario: str) -> Save | Attempt:
        """Have a release save, unless its save is in the store by now."""
        measurer = self._begin(key)
        plan = self._orders.plan
        wanted = EvidenceIndex(plan, None, None).save_key(scenario, plan.releases[release])
        own = [save for save in self._store.saved(wanted) if save.provenance.runner == plan.runner]
        return own[0] if own else measurer.save(plan.releases[release], scenario)

    def load(self, key: str, release: str, cell: Cell, saved: Save) -> Load | Attempt:
        """Have a release load what another saved."""
        return self._begin(key).load(self._orders.plan.releases[release], cell, saved)

    def _begin(self, key: str) -> Measurer:
        """Tell the client what is begun here, and return what does it.

        :raises WorkerError: this worker cannot take part.
        """
        self._worker.log_event(self.name, {"began": key, "worker": self._address})
        with self._lock:
            if self._measurer is None:
                self._measurer = self._open()
            return self._measurer

    def _open(self) -> Measurer:
        orders = self._orders
        if worker_digest() != orders.worker:
            raise WorkerError(
                f"worker {self._address} has another te-matrix than the one that started the run",
                do="Install the same version on every worker",
            )
        self._store = Store(orders.store)
        if not self._store.exists():
            raise WorkerError(
                f"worker {self._address} does not see the store {orders.store}",
                why="it is a folder of another machine",
                do="Give --store a URL, or a folder that all machines share",
            )
        sources, host = orders.opening()
        most = RESIDENT if host.resident else 1
        measurer = Measurer(orders.plan, self._store, sources, host, orders.timeout, most)
        return measurer.__enter__()


def save(run: str, key: str, release: str, scenario: str) -> Save | Attempt:
    """Save, on whichever worker this is. A task."""
    return _station(run).save(key, release, scenario)


def load(run: str, key: str, release: str, cell: Cell, saved: Save) -> Load | Attempt:
    """Load, on whichever worker this is. A task."""
    return _station(run).load(key, release, cell, saved)


def _station(run: str) -> Station:
    station: Station = get_worker().plugins[run]
    return station
