"""``te-matrix bands``: groups of releases that behave alike, compared with the FAQ's bands."""

from __future__ import annotations

import dataclasses
import datetime
import json

import click

from matrix import report
from matrix.catalogue import releases
from matrix.catalogue.selection import EVERYTHING
from matrix.cli.options import with_json, with_selection, with_store, with_today
from matrix.report import behaviour, corrected_faq
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select


@click.command("bands", short_help="Group releases that behave alike; compare the FAQ's bands.")
@with_selection
@with_store
@with_today
@click.option("--faq", "as_faq", is_flag=True, help="print a corrected section for the FAQ (RST)")
@with_json()
def bands_command(
    request: Request, store: Store, today: datetime.date, as_faq: bool, as_json: bool
) -> None:
    """Group releases that save and load alike, and compare the groups with the FAQ's bands.

    The default is all releases, scenarios and variants.
    """
    selected = select(request, store, defaults=EVERYTHING)
    made = report.build(selected.judge(today), selected.documentation)
    order = releases.order(selected.plan.releases)
    if as_faq:
        plan = selected.plan
        click.echo(corrected_faq.section(made, plan.scenarios, plan.variants, order), nl=False)
        return
    found = list(behaviour.discover(made, order))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in found], indent=1))
        return
    for one in found:
        for line in behaviour.lines(one, order):
            click.echo(line)
