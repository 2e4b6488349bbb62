"""What a run needs to measure: an executor here or on a cluster, and the store's notes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from matrix.lane.execution import Executor, execute
from matrix.lane.run import Run, RunOptions
from matrix.lane.sources import CodeSource
from matrix.lane.threads import ThreadExecutor
from matrix.plan.shards import Shard
from matrix.store.store import Store
from matrix.system.progress import Progress
from matrix.workflow import local_gpu
from matrix.workflow.runners import RunnerFactory
from matrix.workflow.selecting import Selected


@contextlib.contextmanager
def opened(
    factory: RunnerFactory, scheduler: str | None, progress: Progress
) -> Iterator[tuple[CodeSource, Executor]]:
    """Return where the code of releases is, and the executor that measures them.

    :param scheduler: the Dask scheduler, to which the context holds a connection; None to
        measure on this machine.
    :raises MatrixError: the runner or the cluster cannot be used.
    """
    if scheduler is None:
        sources, runner = factory(progress)
        yield sources, ThreadExecutor(runner)
        return
    from matrix.lane.cluster.connect import connected

    with connected(scheduler) as client:
        from matrix.lane.cluster.executor import DaskExecutor

        progress.say(f"on {scheduler}; its dashboard: {client.dashboard_link}")
        yield factory.sources(), DaskExecutor(client, factory)


def measure(
    selected: Selected,
    store: Store,
    factory: RunnerFactory,
    options: RunOptions,
    progress: Progress,
    scheduler: str | None = None,
    shard: Shard | None = None,
) -> Run:
    """Do the saves and loads that the store lacks, and return the run.

    :param factory: makes the runner.
    :param scheduler: see :func:`opened`.
    :param shard: the part of the plan that the options' scope is, where it is a shard.
    :raises MatrixError: nothing can be measured here.
    """
    with opened(factory, scheduler, progress) as (sources, executor):
        # Before the evidence is read, so that the error for a store that cannot be written says so.
        store.prepare()
        run = Run(selected.plan, store, sources, options, None, progress, selected.evidence)
        remember(selected, store, shard)
        try:
            execute(run, executor)
        finally:
            progress.stop()
    return run


def remember(selected: Selected, store: Store, shard: Shard | None) -> None:
    """Store the selection of this run, and delete the manifests of other splits into shards."""
    selection = selected.selection
    if selected.on_local_gpu:
        selection = local_gpu.joined_with_last(selection, store)
    store.remember(selection)
    store.forget_manifests(shard.manifest.split if shard else None)
