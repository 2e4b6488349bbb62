"""The executor of a Dask cluster, where every save and every load is a task."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING, Self

from matrix.lane.cluster.tasks import TaskGraph
from matrix.lane.cluster.worker import ClusterWorker, WorkerConfig
from matrix.lane.environment import worker_digest
from matrix.lane.run import Run
from matrix.lane.runner import MakeRunner

if TYPE_CHECKING:
    from distributed import Client


class DaskExecutor:
    """Does the saves and loads of one run on a Dask cluster.

    :param make_runner: makes the runner of a worker; it is called there.
    """

    def __init__(self, client: Client, make_runner: MakeRunner) -> None:
        self._client = client
        self._make_runner = make_runner
        self.begun: dict[str, str] = {}
        """Keys of the tasks that workers have begun, with the addresses of the workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: :meth:`execute` has ended everything."""

    def prepare(self, run: Run) -> None:
        """Do nothing: each worker starts its runner with its first task."""

    def execute(self, run: Run) -> None:
        """Do all saves and loads on the workers of the cluster.

        :raises StoreError: a worker could not store a result.
        :raises EngineError: the scheduler has lost a task.
        """
        name = f"te-matrix-{uuid.uuid4().hex[:12]}"
        graph = TaskGraph(self._client, run, name, self.begun)
        self._client.register_plugin(ClusterWorker(self._config(run, name)))
        for topic in (name, "all"):
            self._client.subscribe_topic(topic, graph.on_event)
        try:
            graph.execute()
        finally:
            graph.cancel()
            for topic in (name, "all"):
                self._client.unsubscribe_topic(topic)
            self._client.unregister_worker_plugin(name)

    def _config(self, run: Run, name: str) -> WorkerConfig:
        plan = dataclasses.replace(run.plan, cells=())
        store, timeout = run.store.absolute, run.options.timeout
        return WorkerConfig(name, plan, store, self._make_runner, timeout, worker_digest())
