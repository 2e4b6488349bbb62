"""``te-matrix run``: measure what is not known, judge, report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix import console, recorded, report
from matrix.cli import containers, here
from matrix.cli.containers import Containers, with_containers
from matrix.cli.options import (
    ON_THIS_GPU,
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
from matrix.lane import Host
from matrix.progress import Progress
from matrix.run import CELL_TIMEOUT, Options, Run
from matrix.sources import Source, Sources
from matrix.store import Store
from matrix.todo import Scope, TakesPart, everyone


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
    source, host, takes_part = _runner(selected, options, watching)
    running = Run(
        selected.plan,
        store,
        source,
        Options(
            options["jobs"],
            options["timeout"],
            options["every_cell"],
            _scope(options["phase"], takes_part, of_band(options["band"], selected.documentation)),
        ),
        None if refresh else recorded.evidence(selected.plan.lane),
        watching,
        host,
    )
    on_this_gpu = (selected.plan.lane, selected.plan.runner) == ON_THIS_GPU
    store.remember(here.together(store, selected.typed) if on_this_gpu else selected.typed)
    try:
        running.execute()
    finally:
        watching.stop()
    show.print(f"{running.measured} measured, the rest was known", highlight=False)
    if options["phase"] or options["band"]:
        if running.unsaved:
            names = ", ".join(sorted(running.unsaved, key=list(selected.plan.releases).index))
            show.print(f"not loaded, because not saved yet: {names}", highlight=False)
        sys.exit(int(running.exit_code))
    _conclude(show, selected, store, options, refresh=refresh)


def _runner(
    selected: Selected, options: dict[str, Any], watching: Progress
) -> tuple[Source, Host | None, TakesPart]:
    """Return where releases' code is, what runs it, and which releases it can run."""
    made = Containers.of(options)
    if (selected.plan.lane, selected.plan.runner) == ON_THIS_GPU:
        installed, host = here.runner(selected.typed.candidate, made.gpu)
        return installed, host, lambda release: release.digest == installed.release.digest
    source = Sources(options["git_url"], offline=options["offline"])
    if selected.plan.runner == "local":
        return source, None, everyone
    contained = containers.runner(
        selected.plan, selected.documentation, selected.bases, made, source, watching
    )
    return *contained, everyone


def _scope(phase: str | None, *conditions: TakesPart) -> Scope:
    """Return the part of the plan that is asked for."""
    return Scope(
        saves=phase != "cross-load",
        loads=phase != "save",
        takes_part=lambda release: all(takes_part(release) for takes_part in conditions),
    )


def _conclude(
    show: Console, selected: Selected, store: Store, options: dict[str, Any], *, refresh: bool
) -> None:
    today = date(options["today"])
    if refresh:
        from matrix.refresh import refresh as refresh_recorded

        count = refresh_recorded(selected.plan, store, today)
        show.print(f"{count} records in {recorded.folder(selected.plan.lane)}", highlight=False)
    judgement = judged(selected, store, today)
    page = report.write(judgement, selected.documentation, options["folder"], selected.typed)
    console.print_judgement(show, judgement, selected.documentation)
    show.print(f"report: {page}", highlight=False, soft_wrap=True)
    sys.exit(0 if options["no_gate"] else int(judgement.exit_code))
