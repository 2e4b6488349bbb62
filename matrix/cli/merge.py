"""``te-matrix merge``: merges the stores of several machines."""

from __future__ import annotations

from pathlib import Path

import click

from matrix.cli.options import STORE, to_store
from matrix.store.archive import Archive, is_exported
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.workflow import merge


def _source(place: str) -> Store | Archive:
    return Archive(Path(place)) if is_exported(place) else Store(place)


@click.command("merge", short_help="Merge stores and exported files into one store.")
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option(
    "--store",
    default=STORE,
    show_default=True,
    callback=to_store,
    help="the store to merge into",
)
def merge_command(stores: tuple[str, ...], store: Store) -> None:
    """Merge stores, with their checkpoints, and exported files into one store, in any order."""
    merged = merge.merge([_source(place) for place in stores], store)
    click.echo(
        f"{store.url}: new are {counted(merged.saves, 'save')}, {counted(merged.loads, 'load')}, "
        f"{counted(merged.checkpoints, 'checkpoint')} and "
        f"{counted(merged.attempts, 'failed attempt')}"
    )
    for conflict in merged.conflicts:
        click.echo(f"observed in more than one way, all kept: {conflict}", err=True)
    if merged.selection is None:
        click.echo(
            "the stores were not written by one kind of run: `report` and `gate` need a selection",
            err=True,
        )
