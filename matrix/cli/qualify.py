"""``te-matrix qualify``: holds a candidate against the release before it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import sys
from pathlib import Path

import click
from rich.console import Console

from matrix import report
from matrix.cli.options import (
    MeasuringArguments,
    with_against,
    with_containers,
    with_measuring,
    with_report,
    with_selection,
    with_store,
    with_today,
)
from matrix.errors import StoreError, UsageError, os_errors_as
from matrix.lane.run import RunOptions
from matrix.report import console, notes
from matrix.store.store import Store
from matrix.workflow import qualifying
from matrix.workflow.containers import ContainerOptions
from matrix.workflow.selecting import Request


@click.command("qualify", short_help="Hold a candidate against the release before it.")
@click.argument("tested", metavar="CANDIDATE")
@functools.partial(with_selection, defaults=qualifying.DEFAULTS)
@with_store
@with_today
@with_containers
@with_measuring
@with_report
@with_against
@click.option(
    "--notes",
    "markup",
    type=click.Choice(notes.MARKUPS),
    help="also write release notes on checkpoints, with a patch of the FAQ",
)
@click.option(
    "--no-gate",
    is_flag=True,
    help="exit with 0 whatever is worse; for use with `te-matrix gate`",
)
def qualify_command(
    tested: str,
    request: Request,
    store: Store,
    today: datetime.date,
    containers: ContainerOptions,
    measuring_options: MeasuringArguments,
    folder: Path,
    against: str | None,
    markup: notes.Markup | None,
    no_gate: bool,
) -> None:
    """Measure a candidate, and hold every cell, save and control against a baseline.

    CANDIDATE is a source tree, a packed or unpacked wheel, an image, or a ref of the git
    repository, as in git:main, git:v2.4 or git:COMMIT. It saves and loads with all releases in
    all scenarios, unless options select others. What its baseline does wrong already is no
    failure. Exit codes: 0 nothing is worse, 1 something is, 3 something is missing, 4 something
    around us failed.
    """
    if request.selection.candidate:
        raise UsageError("qualify takes one candidate", do="Leave out --candidate")
    request = dataclasses.replace(
        request.replace(candidate=(tested,)), git_url=measuring_options.git_url
    )
    screen = Console()
    selected = qualifying.plan(request, store)
    result = qualifying.qualify(
        selected,
        store,
        measuring_options.factory(selected, containers),
        RunOptions(measuring_options.jobs, measuring_options.timeout),
        today,
        against=against,
        scheduler=measuring_options.scheduler,
        progress=console.progress(screen),
    )
    page = report.write(
        result.judgement, selected.documentation, folder, selected.selection, result.report
    )
    if markup is not None:
        text = qualifying.release_notes(request, result, store, today, markup)
        with os_errors_as(StoreError, f"the release notes cannot be written to {folder}"):
            (folder / f"notes.{markup}").write_text(text, encoding="utf-8")
    assert result.report.qualification is not None
    console.print_qualification(screen, result.report.qualification)
    screen.print(f"report: {page}", highlight=False, soft_wrap=True)
    screen.print(f"to sign: {folder / 'qualification.html'}", highlight=False, soft_wrap=True)
    sys.exit(0 if no_gate else int(result.exit_code))
