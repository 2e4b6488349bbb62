"""``te-matrix export``: writes the evidence of a store to one file."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from matrix.cli.options import DATE, today, with_store
from matrix.errors import UsageError
from matrix.store import archive
from matrix.store.store import Store
from matrix.workflow.reading import read_records


@click.command("export", short_help="Write a store's saves and loads to one file.")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@with_store
@click.option(
    "--today",
    "date",
    type=DATE,
    callback=today,
    help="the date in the header of the file  [default: today]",
)
def export_command(path: Path, store: Store, date: datetime.date) -> None:
    """Write all saves and loads of a store to FILE, a .jsonl or .jsonl.gz, without checkpoints."""
    if not archive.is_exported(path.name):
        raise UsageError(
            f"{path} does not say what it is", do="Let its name end in .jsonl or .jsonl.gz"
        )
    count = archive.write(path, read_records(store.url), date.isoformat())
    click.echo(f"{path}: {count} records")
