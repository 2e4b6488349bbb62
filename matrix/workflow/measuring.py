"""Opening the run that brings a store up to date with a plan."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from matrix.errors import UsageError
from matrix.lane.run import Options, Run
from matrix.plan.cells import Plan
from matrix.plan.shards import Shard
from matrix.store.archive import Archive
from matrix.store.store import Store
from matrix.system.progress import Progress
from matrix.workflow import local_gpu
from matrix.workflow.runners import RunnerFactory
from matrix.workflow.selecting import Selected


@contextlib.contextmanager
def opened(
    plan: Plan,
    store: Store,
    factory: RunnerFactory,
    options: Options,
    archive: Archive | None,
    progress: Progress,
    scheduler: str | None,
) -> Iterator[Run]:
    """Return a run on this machine, or on a cluster for as long as that is connected.

    :param archive: the recorded evidence; None for a run that measures everything itself.
    :param scheduler: the Dask scheduler to run on, if any.
    """
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


def require_here(factory: RunnerFactory, *, elsewhere: bool) -> None:
    """Check that the installed release is not to be run on other machines.

    :param elsewhere: whether the run is a shard, or on a cluster.
    :raises UsageError: it is.
    """
    if factory.on_local_gpu and elsewhere:
        raise UsageError(
            "what is installed here can be neither sharded nor run elsewhere",
            do="Run in every environment and merge the stores, or use `--runner docker`",
        )


def remember(selected: Selected, store: Store, shard: Shard | None) -> None:
    """Keep in the store what this run selects, and forget the shards of other splits."""
    chosen, plan = selected.selection, selected.plan
    if (plan.lane, plan.runner) == local_gpu.LOCAL_GPU:
        chosen = local_gpu.joined_with_last(chosen, store)
    store.remember(chosen)
    store.forget_manifests(shard.manifest.split if shard else None)
