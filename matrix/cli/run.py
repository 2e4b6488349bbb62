"""``te-matrix run``: measures what the store lacks, judges, and writes the report."""

from __future__ import annotations

import dataclasses
import datetime
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from matrix import report
from matrix.catalogue.selection import EVERYTHING
from matrix.cli.options import (
    MeasuringArguments,
    gathered_in,
    with_containers,
    with_measuring,
    with_part,
    with_report,
    with_selection,
    with_store,
    with_today,
)
from matrix.errors import UsageError
from matrix.lane.run import Run, RunOptions
from matrix.plan.shards import Shard
from matrix.report import console, printout, stamp
from matrix.report.stamp import Stamp
from matrix.store import recorded
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.workflow import inputs, measuring, rerecord
from matrix.workflow.containers import ContainerOptions
from matrix.workflow.parts import PlanPart
from matrix.workflow.selecting import Request, Selected, select


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunArguments:
    """Options of ``te-matrix run`` alone; its help explains them."""

    every_cell: bool
    folder: Path
    no_gate: bool
    refresh_recorded: bool

    @property
    def measures(self) -> bool:
        """Whether something is measured although it is known."""
        return self.every_cell or self.refresh_recorded


@click.command("run", short_help="Measure what the store lacks, judge and report.")
@with_selection
@with_store
@with_today
@with_containers
@with_measuring
@click.option(
    "--every-cell",
    is_flag=True,
    help="load every cell, even if another one with the same checkpoint state was loaded; "
    "contradicting results make the cells infra",
)
@with_part
@with_report
@click.option(
    "--no-gate",
    is_flag=True,
    help="exit with 0 whatever the verdicts are; for use with `te-matrix gate`",
)
@click.option(
    "--refresh-recorded",
    is_flag=True,
    help="measure the whole catalogue and replace the recorded evidence",
)
@gathered_in(RunArguments, "options")
def run_command(
    request: Request,
    store: Store,
    today: datetime.date,
    containers: ContainerOptions,
    part: PlanPart,
    measuring_options: MeasuringArguments,
    options: RunArguments,
) -> None:
    """Save and load what the store lacks, judge all cells of the selection, and report."""
    if options.refresh_recorded:
        request = _whole_catalogue(request)
    request = dataclasses.replace(request, git_url=measuring_options.git_url)
    screen = Console()
    selected = dataclasses.replace(select(request, store), live_only=options.refresh_recorded)
    if part.whole and not options.measures:
        stamped = _earlier(request, selected, store, today, options.folder)
        if stamped is not None:
            measuring.remember(selected, store, None)
            _say(screen, "0 measured, the rest was known; the report is as it was")
            _end(screen, stamped, options)
    shard, run = _measure(
        selected, store, containers, part, measuring_options, options.every_cell, screen
    )
    if shard:
        store.add_manifest(shard.manifest)
        _say(screen, f"shard {shard.manifest.name}: {counted(shard.manifest.cells, 'load')}")
    if not part.whole:
        _say_what_is_unsaved(screen, run)
        sys.exit(int(run.exit_code))
    if options.refresh_recorded:
        count = rerecord.refresh(run.index, store, today)
        _say(screen, f"{counted(count, 'record')} in {recorded.folder(run.plan.lane)}")
        selected = dataclasses.replace(selected, live_only=False)
    _end(screen, _report(request, selected, run, today, options.folder), options)


def _earlier(
    request: Request, selected: Selected, store: Store, today: datetime.date, folder: Path
) -> Stamp | None:
    """Return the stamp of the report that is in the folder, if this run would write the same."""
    stamped = stamp.read(folder)
    if stamped is None:
        return None
    same = stamped.inputs == inputs.digest(request, selected, store.content(), today)
    return stamped if same else None


def _report(
    request: Request, selected: Selected, run: Run, today: datetime.date, folder: Path
) -> Stamp:
    """Judge what a run has left in the store, and write the report."""
    judgement = selected.judge(today)
    made = report.build(judgement, selected.documentation)
    report.write(judgement, selected.documentation, folder, selected.selection, made)
    content = run.store.content_known()
    made_from = inputs.digest(request, selected, content, today) if run.finished else ""
    return stamp.write(folder, made_from, printout.of(judgement, made), judgement.exit_code)


def _end(screen: Console, stamped: Stamp, options: RunArguments) -> NoReturn:
    """Print what was found and where the report is, and exit."""
    console.print_judgement(screen, stamped.printout)
    page = options.folder / "index.html"
    screen.print(f"report: {page}", highlight=False, soft_wrap=True)
    sys.exit(0 if options.no_gate else int(stamped.exit_code))


def _whole_catalogue(request: Request) -> Request:
    chosen = request.selection
    if chosen.candidate or chosen.size or chosen.scenario_file:
        raise UsageError(
            "--refresh-recorded records the catalogue and the packaged scenarios as they are",
            do="Leave out --candidate, --size and --scenarios",
        )
    return request.replace(**EVERYTHING)


def _measure(
    selected: Selected,
    store: Store,
    containers: ContainerOptions,
    part: PlanPart,
    measuring_options: MeasuringArguments,
    every_cell: bool,
    screen: Console,
) -> tuple[Shard | None, Run]:
    """Do the saves and loads that the store lacks."""
    scheduler = measuring_options.scheduler
    if selected.on_local_gpu and (scheduler or part.shard):
        raise UsageError(
            "what is installed here can be neither sharded nor run elsewhere",
            do="Run in every environment and merge the stores, or use `--runner docker`",
        )
    factory = measuring_options.factory(selected, containers)
    shard = part.take_shard(selected.plan, selected.evidence) if part.shard else None
    scope = part.scope(selected.documentation, factory.takes_part(), shard)
    how = RunOptions(measuring_options.jobs, measuring_options.timeout, every_cell, scope)
    progress = console.progress(screen)
    run = measuring.measure(selected, store, factory, how, progress, scheduler, shard)
    _say(screen, f"{run.measured} measured, the rest was known")
    return shard, run


def _say_what_is_unsaved(screen: Console, run: Run) -> None:
    if run.unsaved:
        names = ", ".join(name for name in run.plan.releases if name in run.unsaved)
        _say(screen, f"not loaded, because not saved yet: {names}")


def _say(screen: Console, line: str) -> None:
    screen.print(line, highlight=False)
