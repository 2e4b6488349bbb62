"""``te-matrix judge`` and ``report``: what a store says, running nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix import report
from matrix.cli.options import REPORT, date, judged, select, selecting, with_store
from matrix.report import console
from matrix.store.store import Store


@click.command("judge")
@selecting
@with_store
@click.option("--json", "as_json", is_flag=True, help="print the verdicts as JSON")
def judge_command(as_json: bool, store: str, today: Any, **options: Any) -> None:
    """Judge what a store holds, running nothing; by default what the last run selected."""
    kept = Store(store)
    selected = select(options, kept.remembered())
    judgement = judged(selected, kept, date(today))
    if as_json:
        rows = [
            report.cell_object(v, judgement).model_dump(mode="json") for v in judgement.verdicts
        ]
        click.echo(json.dumps(rows, indent=1))
    else:
        console.print_judgement(Console(), judgement, selected.documentation)


@click.command("report")
@selecting
@with_store
@click.option("--report", "folder", type=click.Path(path_type=Path), default=Path(REPORT))
@click.option("--json", "as_json", is_flag=True, help="print report.json instead of writing files")
def report_command(as_json: bool, folder: Path, store: str, today: Any, **options: Any) -> None:
    """Write the report on what a store holds; by default on what the last run selected."""
    kept = Store(store)
    selected = select(options, kept.remembered())
    judgement = judged(selected, kept, date(today))
    if as_json:
        click.echo(report.build(judgement, selected.documentation).model_dump_json(indent=1))
    else:
        page = report.write(judgement, selected.documentation, folder, selected.typed)
        click.echo(f"report: {page}")
