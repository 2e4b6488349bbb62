"""``te-matrix run``: measure what is not known, judge, report."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix import report
from matrix.catalogue.releases import Release
from matrix.cli import here
from matrix.cli.containers import Containers, with_containers
from matrix.cli.opening import RunnerFactory
from matrix.cli.options import (
    REPORT,
    Selected,
    date,
    judged,
    of_band,
    select,
    selecting,
    with_band,
    with_store,
)
from matrix.errors import UsageError
from matrix.lane.measure import CELL_TIMEOUT
from matrix.lane.run import Options, Run
from matrix.lane.sources import chosen_git_url
from matrix.plan import shards
from matrix.plan.costs import Costs
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import ReleaseFilter, Scope
from matrix.plan.shards import Shard
from matrix.report import console
from matrix.store import recorded
from matrix.store.archive import Archive
from matrix.store.store import Store
from matrix.system.progress import Progress


@click.command("run")
@selecting
@with_store
@with_containers
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count(), show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=CELL_TIMEOUT,
    show_default=True,
    help="seconds per save or load",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS|FILE|local[:N]",
    help="run on a Dask cluster: a scheduler's address or file, or N workers here",
)
@click.option("--git-url", help="git repository or mirror  [TE_MATRIX_GIT_URL]")
@click.option("--offline", is_flag=True, help="fetch no source; use what is cached or recorded")
@click.option(
    "--every-cell",
    is_flag=True,
    help="load also what a cell with the very same checkpoint state has answered; "
    "a disagreement makes the cells infra",
)
@click.option(
    "--phase",
    type=click.Choice(["save", "cross-load"]),
    help="do that much and judge nothing; the store keeps it for the rest",
)
@with_band
@click.option(
    "--shard",
    metavar="K/N",
    help="do the Kth of N parts of equal cost and judge nothing; `te-matrix merge` joins them",
)
@click.option("--report", "folder", type=click.Path(path_type=Path), default=Path(REPORT))
@click.option(
    "--no-gate",
    is_flag=True,
    help="exit 0 when the run went through, whatever was seen: `te-matrix gate` judges it",
)
@click.option(
    "--refresh-recorded",
    is_flag=True,
    help="run the whole catalogue live and replace the recorded evidence by it",
)
def run_command(**options: Any) -> None:
    """Save, cross-load, judge and report: whatever is not known yet."""
    if options.pop("refresh_recorded"):
        if options["candidate"] or options["size"] or options["scenario_file"]:
            raise UsageError(
                "--refresh-recorded records the catalogue and the packaged scenarios as they are",
                do="Leave out --candidate, --size and --scenarios",
            )
        options |= {"releases": "all", "scenario": "all", "variant": "all"}
        _run(options, refresh=True)
    else:
        _run(options, refresh=False)


def _run(options: dict[str, Any], *, refresh: bool) -> None:
    selected = select(options)
    store = Store(options["store"])
    show = Console()
    watching = console.progress(show)
    git_url = chosen_git_url(options["git_url"])
    opening = RunnerFactory(selected, Containers.of(options), git_url, options["offline"])
    if opening.on_this_gpu and (options["scheduler"] or options["shard"]):
        raise UsageError(
            "what is installed here can be neither sharded nor run elsewhere",
            do="Run in every environment and merge the stores, or use `--runner docker`",
        )
    archive = None if refresh else recorded.evidence(selected.plan.lane)
    shard = _shard(options, selected, store, archive)
    in_band = of_band(options["band"], selected.documentation)
    scope = _scope(options["phase"], in_band, opening.takes_part())
    if shard:
        scope = shard.scope(options["phase"])
    how = Options(options["jobs"], options["timeout"], options["every_cell"], scope)
    with _runner(options["scheduler"], selected, store, opening, how, archive, watching) as running:
        typed = selected.typed
        store.remember(here.together(store, typed) if opening.on_this_gpu else typed)
        store.forget_manifests(shard.manifest.split if shard else None)
        try:
            running.execute()
        finally:
            watching.stop()
    show.print(f"{running.measured} measured, the rest was known", highlight=False)
    if shard:
        store.add_manifest(shard.manifest)
        show.print(f"shard {shard.manifest.name}: {shard.manifest.cells} loads", highlight=False)
    if options["phase"] or options["band"] or shard:
        if running.unsaved:
            names = ", ".join(sorted(running.unsaved, key=list(selected.plan.releases).index))
            show.print(f"not loaded, because not saved yet: {names}", highlight=False)
        sys.exit(int(running.exit_code))
    _conclude(show, selected, store, options, refresh=refresh)


@contextlib.contextmanager
def _runner(
    scheduler: str | None,
    selected: Selected,
    store: Store,
    opening: RunnerFactory,
    how: Options,
    archive: Archive | None,
    watching: Progress,
) -> Iterator[Run]:
    """Give a run on this machine, or on a cluster for as long as that is connected."""
    if scheduler is None:
        source, host = opening(watching)
        yield Run(selected.plan, store, source, how, archive, watching, host)
        return
    from matrix.lane.cluster.connect import connected

    with connected(scheduler) as client:
        from matrix.lane.cluster.graph import ClusterRun

        watching.say(f"on {scheduler}; its dashboard: {client.dashboard_link}")
        run = ClusterRun(selected.plan, store, opening.sources(), how, archive, watching)
        yield run.on(client, opening)


def _scope(phase: str | None, *conditions: ReleaseFilter) -> Scope:
    """Return the part of the plan that is asked for."""

    def wanted(release: Release, _scenario: str) -> bool:
        return all(takes_part(release) for takes_part in conditions)

    return Scope(
        saves=phase != "cross-load",
        loads=phase != "save",
        saves_with=wanted,
        loads_with=wanted,
    )


def _shard(
    options: dict[str, Any], selected: Selected, store: Store, archive: Archive | None
) -> Shard | None:
    """Return the shard that is asked for.

    :raises UsageError: it cannot be had together with the other options.
    """
    if options["shard"] is None:
        return None
    number, count = shards.parse(options["shard"])
    if options["band"]:
        raise UsageError("--shard and --band both say what part to do", do="Give one of them")
    if selected.plan.lane == "gpu" and options["phase"] is None:
        raise UsageError(
            "--shard alone has every shard make the saves that it needs",
            why="training is not repeatable to the bit, so that two shards' saves would differ",
            do="Shard `--phase save`, merge, then shard `--phase cross-load` on what came of it",
        )
    costs = Costs(EvidenceIndex(selected.plan, store, archive))
    return shards.split(selected.plan, costs, number, count, options["phase"])


def _conclude(
    show: Console, selected: Selected, store: Store, options: dict[str, Any], *, refresh: bool
) -> None:
    today = date(options["today"])
    if refresh:
        from matrix.workflow.rerecord import refresh as refresh_recorded

        count = refresh_recorded(selected.plan, store, today)
        show.print(f"{count} records in {recorded.folder(selected.plan.lane)}", highlight=False)
    judgement = judged(selected, store, today)
    page = report.write(judgement, selected.documentation, options["folder"], selected.typed)
    console.print_judgement(show, judgement, selected.documentation)
    show.print(f"report: {page}", highlight=False, soft_wrap=True)
    sys.exit(0 if options["no_gate"] else int(judgement.exit_code))
