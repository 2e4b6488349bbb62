"""``te-matrix ledger``: the known deviations, and proposals for more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from matrix import report
from matrix.catalogue import releases
from matrix.cli.options import date, judged, select, selecting, with_store
from matrix.gate import accept
from matrix.judge import ledger
from matrix.store.store import Store


@click.group("ledger", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def ledger_command(context: click.Context, as_json: bool) -> None:
    """Show the ledger of known deviations."""
    if context.invoked_subcommand:
        return
    rows = [entry.model_dump(mode="json") for entry in ledger.load()]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(
            f"{row['id']:34} {row['observed']:9} {row['saved_by']} -> {row['loaded_by']}, "
            f"{'/'.join(row['scenarios'])}, {'/'.join(row['variants'])}, until {row['expires']}"
        )


@ledger_command.command("accept")
@click.argument("cells", nargs=-1, required=True)
@click.option("--id", "name", required=True, help="name of the entry; more get -2, -3, ...")
@click.option("--cause", required=True, help="what causes it: TE file and symbol")
@click.option("--owner", required=True, help="who accepts it")
@click.option("--reference", required=True, help="upstream issue or change")
@click.option("--advice", required=True, help="what somebody with such a checkpoint can do")
@click.option("--expires", required=True, type=click.DateTime(["%Y-%m-%d"]), help="look again then")
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False),
    help="append to this ledger file instead of printing",
)
@selecting
@with_store
def accept_command(
    cells: tuple[str, ...],
    name: str,
    cause: str,
    owner: str,
    reference: str,
    advice: str,
    expires: Any,
    into: Path | None,
    store: str,
    today: Any,
    **options: Any,
) -> None:
    """Turn deviations that nobody knows into ledger entries, for review.

    CELLS are cell ids, with * for anything: 'autocast/plain/*->2.4'. By default of what the
    last run selected. The entries know exactly those cells. Nothing but this writes a
    ledger, and only the file that --into names.
    """
    said = accept.review(
        id=name,
        cause=cause,
        owner=owner,
        reference=reference,
        advice=advice,
        expires=expires.date(),
    )
    kept = Store(store)
    selected = select(options, kept.remembered())
    made = report.build(judged(selected, kept, date(today)), selected.documentation)
    order = releases.order(selected.plan.releases)
    found = accept.entries(accept.chosen(made, cells), said, order)
    if into is None:
        click.echo(accept.text(found), nl=False)
        return
    accept.add(into, found)
    click.echo(f"{len(found)} entries for review in {into}")
