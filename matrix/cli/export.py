"""``te-matrix export``: writes the evidence of a store to one file, or to one for each scenario."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from matrix.cli.options import DATE, today, with_store
from matrix.errors import UsageError
from matrix.store import archive, recorded
from matrix.store.store import Store
from matrix.workflow.reading import read_records


@click.command("export", short_help="Write a store's saves and loads to a file.")
@click.argument("path", type=click.Path(path_type=Path), metavar="PATH")
@with_store
@click.option(
    "--today",
    "date",
    type=DATE,
    callback=today,
    help="the date in the header of the file  [default: today]",
)
def export_command(path: Path, store: Store, date: datetime.date) -> None:
    """Write all saves and loads of a store, without checkpoints.

    PATH is a .jsonl, .jsonl.gz or .jsonl.xz file; or a folder, which gets a file for each
    scenario, as the recorded evidence in fixtures/ has them.
    """
    records, at = read_records(store.url), date.isoformat()
    if archive.is_exported(path.name):
        count = archive.write(path, records, at)
    elif not path.suffix and not (path.exists() and any(path.iterdir())):
        count = recorded.write_evidence(path, records, at)
    else:
        raise UsageError(
            f"{path} is neither the name of an exported file nor of a new or empty folder",
            do=f"Let the name of a file end in {', '.join(archive.SUFFIXES)}",
        )
    click.echo(f"{path}: {count} records")
