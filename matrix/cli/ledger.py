"""``te-matrix ledger``: the known deviations, and proposals for further entries."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import click

from matrix import report
from matrix.catalogue import releases
from matrix.cli.options import DATE, gathered, with_json, with_selection, with_store, with_today
from matrix.gate import accept
from matrix.gate.accept import Justification
from matrix.judge import ledger
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.workflow.selecting import Request, select


@click.group(
    "ledger", invoke_without_command=True, short_help="Show known deviations, or propose entries."
)
@with_json()
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


@ledger_command.command("accept", short_help="Propose entries for deviations of a run.")
@click.argument("cells", nargs=-1, required=True)
@click.option("--id", required=True, help="id of the entry; further ones get -2, -3, ...")
@click.option("--cause", required=True, help="the cause: TE file and symbol")
@click.option("--owner", required=True, help="who accepts it")
@click.option("--reference", required=True, help="upstream issue or change")
@click.option("--advice", required=True, help="what users with such a checkpoint can do")
@click.option("--expires", required=True, type=DATE, help="date from which they no longer count")
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False),
    help="append to this ledger file instead of printing",
)
@with_selection
@with_store
@with_today
@gathered("justification", accept.FIELDS, accept.justify)
def accept_command(
    request: Request,
    store: Store,
    today: datetime.date,
    cells: tuple[str, ...],
    justification: Justification,
    into: Path | None,
) -> None:
    """Propose ledger entries for deviations that have none, for review.

    CELLS are cell ids, in which * stands for any characters: 'autocast/plain/*->2.4'. The
    default selection is that of the last run. The entries match exactly those cells. No other
    command writes a ledger, and this one writes only the file that --into names.
    """
    selected = select(request, store, resume=True)
    made = report.build(selected.judge(today), selected.documentation)
    order = releases.order(selected.plan.releases)
    found = accept.entries(accept.select_cells(made, cells), justification, order)
    if into is None:
        click.echo(accept.text(found), nl=False)
        return
    accept.add(into, found)
    click.echo(f"{counted(len(found), 'entry')} for review in {into}")
