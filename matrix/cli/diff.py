"""``te-matrix diff``: one run against another."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import click

from matrix import catalogue, diff, report
from matrix.cli.options import date, judged, select, selecting
from matrix.errors import UsageError
from matrix.report import document
from matrix.report.document import Report
from matrix.store import Store


def a_run(place: str, options: dict[str, Any], today: datetime.date) -> Report:
    """Return a run as a report: read from a report.json, or judged from a store.

    :param options: the selection options; where they hold none, what the store's own last
        run selected.
    :raises UsageError: there is nothing at ``place``.
    """
    if place.endswith(".json"):
        return document.read(Path(place))
    store = Store(place)
    if not store.exists():
        raise UsageError(
            f"{place} is neither a store nor a report.json",
            do="Name a folder that `te-matrix run --store` wrote, or a report.json",
        )
    selected = select(dict(options), store.remembered())
    return report.build(judged(selected, store, today), selected.documentation)


@click.command("diff")
@click.argument("a")
@click.argument("b")
@selecting
@click.option(
    "--today",
    type=click.DateTime(["%Y-%m-%d"]),
    help="the date to judge stores by [default: today]",
)
@click.option("--release", help="compare only this release's row and column in B")
@click.option("--against", help="with this release's in A  [default: the newest not newer]")
@click.option("--markdown", "as_markdown", is_flag=True, help="print Markdown")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def diff_command(
    a: str,
    b: str,
    today: Any,
    release: str | None,
    against: str | None,
    as_markdown: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """List the cells whose outcome, reason or verdict differs between runs A and B.

    Each is a store or a report.json. To qualify a release, name it with --release: its row
    and column in B are held against those of the last qualified one in A. Exit code 1 on
    a regression; 4 or 3 where B lacks an outcome that A has.
    """
    before, after = (a_run(place, options, date(today)) for place in (a, b))
    names = [row.name for run in (before, after) for row in run.releases]
    order = catalogue.order(names)
    found = diff.compare(before, after, order, release, against)
    if as_json:
        click.echo(json.dumps(diff.plain(found), indent=1))
    else:
        shown = diff.markdown if as_markdown else diff.lines
        for line in shown(found, order):
            click.echo(line)
    sys.exit(int(found.exit_code))
