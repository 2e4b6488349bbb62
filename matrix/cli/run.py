"""``te-matrix run``: measure what is not known, judge, report."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix import console, recorded, report
from matrix.cli import containers
from matrix.cli.containers import Containers, with_containers
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
from matrix.expectations import Documentation
from matrix.lane import Host
from matrix.measure import CELL_TIMEOUT
from matrix.run import Options, Run
from matrix.sources import Source, Sources
from matrix.store import Store
from matrix.todo import Scope


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
    source: Source = Sources(options["git_url"], offline=options["offline"])
    host: Host | None = None
    if selected.plan.runner == "docker":
        source, host = containers.runner(
            selected.plan,
            selected.documentation,
            selected.bases,
            Containers.of(options),
            source,
            watching,
        )
    running = Run(
        selected.plan,
        store,
        source,
        Options(
            options["jobs"],
            options["timeout"],
            options["every_cell"],
            _scope(options["phase"], options["band"], selected.documentation),
        ),
        None if refresh else recorded.evidence(selected.plan.lane),
        watching,
        host,
    )
    store.remember(selected.typed)
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


def _scope(phase: str | None, band: str | None, documentation: Documentation) -> Scope:
    """Return the part of the plan that is asked for."""
    return Scope(
        saves=phase != "cross-load",
        loads=phase != "save",
        takes_part=of_band(band, documentation),
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
