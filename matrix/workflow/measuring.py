"""Opening the run that brings a store up to date with a plan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from matrix.lane.run import Options, Run
from matrix.plan.shards import Shard
from matrix.store.archive import Archive
from matrix.store.store import Store
from matrix.system.progress import Progress
from matrix.workflow import local_gpu
from matrix.workflow.runners import RunnerFactory
from matrix.workflow.selecting import Selected


@contextlib.contextmanager
def opened(
    factory: RunnerFactory,
    store: Store,
    options: Options,
    archive: Archive | None,
    progress: Progress,
    scheduler: str | None,
) -> Iterator[Run]:
    """Return a run on this machine, or on a cluster for as long as that is connected.

    :param archive: the recorded evidence; None for a run that measures everything itself.
    :param scheduler: the Dask scheduler to run on, if any.
    """
    plan = factory.selected.plan
    if scheduler is None:
        sources, runner = factory(progress)
        yield Run(plan, store, sources, options, archive, progress, runner)
        return
    from matrix.lane.cluster.connect import connected

    with connected(scheduler) as client:
        from matrix.lane.cluster.graph import ClusterRun

        progress.say(f"on {scheduler}; its dashboard: {client.dashboard_link}")
        run = ClusterRun(plan, store, factory.sources(), options, archive, progress)
        yield run.on(client, factory)


def remember(selected: Selected, store: Store, shard: Shard | None) -> None:
    """Keep in the store what this run selects, and forget the shards of other splits."""
    selection = selected.selection
    if selected.on_local_gpu:
        selection = local_gpu.joined_with_last(selection, store)
    store.remember(selection)
    store.forget_manifests(shard.manifest.split if shard else None)
