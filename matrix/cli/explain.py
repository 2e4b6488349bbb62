"""``te-matrix explain``: one pair."""

from __future__ import annotations

import json
from typing import Any

import click

from matrix import catalogue, expectations, explain, ledger, plan, report, scenarios
from matrix.cli.options import Selected, date, judged, with_store
from matrix.selection import Selection
from matrix.store import Store


@click.command("explain")
@click.argument("saved_by")
@click.argument("loaded_by")
@with_store
@click.option("--json", "as_json", is_flag=True, help="print the verdicts as JSON")
def explain_command(saved_by: str, loaded_by: str, store: str, today: Any, as_json: bool) -> None:
    """Tell what happens to a checkpoint of SAVED_BY in LOADED_BY, why, and what to do.

    Answers from the store where there is one, else from the recorded evidence.
    """
    known, documentation = catalogue.load(), expectations.load()
    pair = [known[saved_by]], [known[loaded_by]]
    made = plan.make(documentation, scenarios.load(), scenarios.variants(), *pair)
    selected = Selected(catalogue=known, documentation=documentation, plan=made, typed=Selection())
    judgement = judged(selected, Store(store), date(today))
    if as_json:
        rows = [
            report.cell_object(v, judgement).model_dump(mode="json") for v in judgement.verdicts
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    for line in explain.page(judgement, documentation, ledger.load()):
        click.echo(line)
