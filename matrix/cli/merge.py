"""``te-matrix merge``: what several machines measured, in one store."""

from __future__ import annotations

import click

from matrix import merge
from matrix.cli.options import STORE
from matrix.store import Store


@click.command("merge")
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option(
    "--store", default=STORE, show_default=True, help="the store to bring everything into"
)
def merge_command(stores: tuple[str, ...], store: str) -> None:
    """Bring stores together, checkpoints included; the order does not matter."""
    merged = merge.merge([Store(url) for url in stores], Store(store))
    click.echo(
        f"{store}: {merged.saves} saves, {merged.loads} loads, {merged.checkpoints} checkpoints "
        f"and {merged.attempts} failed attempts are new"
    )
    for conflict in merged.conflicts:
        click.echo(f"observed in more than one way, all kept: {conflict}", err=True)
    if merged.selection is None:
        click.echo(
            "the stores were not written by one kind of run: `report` and `gate` need a selection",
            err=True,
        )
