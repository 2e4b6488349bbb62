"""``te-matrix judge`` and ``te-matrix report``: judge the evidence in a store."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import click
from rich.console import Console

from matrix import report
from matrix.cli.options import (
    with_against,
    with_json,
    with_report,
    with_selection,
    with_store,
    with_today,
)
from matrix.errors import UsageError
from matrix.judge.judgement import Judgement
from matrix.report import console, document, printout
from matrix.report.document import Report
from matrix.store.store import Store
from matrix.workflow import qualifying
from matrix.workflow.selecting import Request, Selected, select


@click.command("judge", short_help="Judge the evidence in a store.")
@with_selection
@with_store
@with_today
@with_json("print the verdicts as JSON")
def judge_command(request: Request, store: Store, today: datetime.date, as_json: bool) -> None:
    """Judge the evidence in a store. Runs nothing. The default selection is the last run's."""
    selected = select(request, store, resume=True)
    judgement = selected.judge(today)
    if as_json:
        rows = [report.cell_of(v, judgement).model_dump(mode="json") for v in judgement.verdicts]
        click.echo(json.dumps(rows, indent=1))
    else:
        made = report.build(judgement, selected.documentation)
        console.print_judgement(Console(), printout.of(judgement, made))


@click.command("report", short_help="Write the report on the evidence in a store.")
@with_selection
@with_store
@with_today
@with_report
@with_against
@with_json("print report.json instead of writing files")
def report_command(
    request: Request,
    store: Store,
    today: datetime.date,
    folder: Path,
    against: str | None,
    as_json: bool,
) -> None:
    """Write the report on the evidence in a store. The default selection is the last run's.

    Candidates are held against the release before them, as by `te-matrix qualify`.
    """
    selected = select(request, store, resume=True)
    judgement, made = _reported(selected, against, today)
    if as_json:
        click.echo(document.text(made), nl=False)
    else:
        page = report.write(judgement, selected.documentation, folder, selected.selection, made)
        click.echo(f"report: {page}")


def _reported(
    selected: Selected, against: str | None, today: datetime.date
) -> tuple[Judgement, Report]:
    if selected.candidates:
        names = [release.name for release in selected.candidates]
        held = qualifying.baseline(selected.of_candidates(), names, against, today)
        result = qualifying.compared(selected, held, today)
        return result.judgement, result.report
    if against is not None:
        raise UsageError("--against is for candidates, and the selection has none")
    judgement = selected.judge(today)
    return judgement, report.build(judgement, selected.documentation)
