"""``te-matrix diff``: one run against another."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from matrix.catalogue import releases
from matrix.cli.options import date, selecting
from matrix.cli.runs import a_run
from matrix.report import diff


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
    order = releases.order(names)
    found = diff.compare(before, after, order, release, against)
    if as_json:
        click.echo(json.dumps(diff.plain(found), indent=1))
    else:
        shown = diff.markdown if as_markdown else diff.lines
        for line in shown(found, order):
            click.echo(line)
    sys.exit(int(found.exit_code))
