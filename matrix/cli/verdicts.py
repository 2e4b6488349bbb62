"""``te-matrix judge`` and ``te-matrix report``: judge the evidence in a store."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import click
from rich.console import Console

from matrix import report
from matrix.cli.options import with_json, with_report, with_selection, with_store, with_today
from matrix.report import console, document
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select


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
        rows = [
            report.cell_object(v, judgement).model_dump(mode="json") for v in judgement.verdicts
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        console.print_judgement(Console(), judgement, selected.documentation)


@click.command("report", short_help="Write the report on the evidence in a store.")
@with_selection
@with_store
@with_today
@with_report
@with_json("print report.json instead of writing files")
def report_command(
    request: Request, store: Store, today: datetime.date, folder: Path, as_json: bool
) -> None:
    """Write the report on the evidence in a store. The default selection is the last run's."""
    selected = select(request, store, resume=True)
    judgement = selected.judge(today)
    if as_json:
        click.echo(document.text(report.build(judgement, selected.documentation)), nl=False)
    else:
        page = report.write(judgement, selected.documentation, folder, selected.selection)
        click.echo(f"report: {page}")
