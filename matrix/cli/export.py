"""``te-matrix export``: writes the evidence of a store to one file, or to one for each scenario."""

from __future__ import annotations

import datetime
from pathlib import Path

import click

from matrix import report
from matrix.catalogue.selection import EVERYTHING, Selection
from matrix.cli.options import DATE, today, with_store
from matrix.errors import StoreError, UsageError, os_errors_as
from matrix.report import compat as compat_file
from matrix.report import ways_page
from matrix.store import archive, recorded
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.workflow.reading import read_records
from matrix.workflow.selecting import Request, select


@click.command("export", short_help="Write a store's saves and loads to a file.")
@click.argument("path", type=click.Path(path_type=Path), metavar="PATH")
@with_store
@click.option(
    "--compat",
    is_flag=True,
    help="write what is known of all releases as data for other programs instead",
)
@click.option(
    "--ways",
    is_flag=True,
    help="write the table of ways across between all releases as a page of Markdown instead",
)
@click.option(
    "--today",
    "date",
    type=DATE,
    callback=today,
    help="the date in the header of the file  [default: today]",
)
def export_command(path: Path, store: Store, compat: bool, ways: bool, date: datetime.date) -> None:
    """Write all saves and loads of a store, without checkpoints.

    PATH is a .jsonl, .jsonl.gz or .jsonl.xz file; or a folder, which gets a file for each
    scenario, as the recorded evidence in fixtures/ has them.

    With --compat, PATH is a JSON file that says for every saver, loader, module and recipe what
    happens, why and what helps, by the store and the recorded evidence. It is read by
    matrix/report/compat_reader.py, a file that needs no other.

    With --ways, PATH is a page that says for every saver, loader and scenario what makes the
    checkpoint load, what is given up by it, or why nothing does.

    With either, - is standard output.
    """
    if compat and ways:
        raise UsageError("--compat and --ways are two files", do="Write one after the other")
    if compat or ways:
        selected = select(Request(Selection()), store, defaults=EVERYTHING)
        judgement = selected.judge(date)
        made = report.build(judgement, selected.documentation)
        text = (
            compat_file.text(made, selected.catalogue, compat_file.unlisted(judgement))
            if compat
            else ways_page.page(made.ways)
        )
        if str(path) == "-":
            click.echo(text, nl=False)
            return
        with os_errors_as(StoreError, f"{path} cannot be written", do="Name another file"):
            path.write_text(text, encoding="utf-8")
        click.echo(f"{path}: {counted(made.planned, 'cell')}")
        return
    records, at = read_records(store.url), date.isoformat()
    if archive.is_exported(path.name):
        count = archive.write(path, records, at)
    elif str(path) != "-" and not path.suffix and not (path.exists() and any(path.iterdir())):
        count = recorded.write_evidence(path, records, at)
    else:
        raise UsageError(
            f"{path} is neither the name of an exported file nor of a new or empty folder",
            do=f"Let the name of a file end in {', '.join(archive.SUFFIXES)}",
        )
    click.echo(f"{path}: {counted(count, 'record')}")
