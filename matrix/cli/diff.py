"""``te-matrix diff``: compares two runs."""

from __future__ import annotations

import datetime
import json
import sys

import click

from matrix.catalogue import releases
from matrix.cli.options import with_json, with_selection, with_today
from matrix.report import diff
from matrix.workflow.reading import read_report
from matrix.workflow.selecting import Request


@click.command("diff", short_help="List what differs between two runs.")
@click.argument("a")
@click.argument("b")
@with_selection
@with_today
@click.option("--release", help="compare this release's row and column in B alone")
@click.option("--against", help="with this release in A  [default: the newest that is not newer]")
@click.option("--markdown", "as_markdown", is_flag=True, help="print Markdown")
@with_json()
def diff_command(
    a: str,
    b: str,
    request: Request,
    today: datetime.date,
    release: str | None,
    against: str | None,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """List the cells whose outcome, reason or verdict differs between runs A and B.

    A and B are stores or report.json files. To qualify a release, name it with --release: its
    row and column in B are compared with those of an earlier release in A. The exit code is 1
    for a regression, and 4 or 3 if B lacks an outcome that A has.
    """
    before, after = (read_report(place, request, today) for place in (a, b))
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
