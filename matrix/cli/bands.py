"""``te-matrix bands``: where behaviour really changes, beside the FAQ's bands."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from matrix import report
from matrix.catalogue import releases
from matrix.cli.options import date, judged, select, selecting, with_store
from matrix.report import behaviour, corrected_faq
from matrix.store.store import Store


@click.command("bands")
@selecting
@with_store
@click.option("--faq", "as_faq", is_flag=True, help="write a corrected FAQ section (RST)")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def bands_command(as_faq: bool, as_json: bool, store: str, today: Any, **options: Any) -> None:
    """Group releases that save and load alike, and set them beside the FAQ's bands.

    By default on all releases, scenarios and variants.
    """
    for kind in ("releases", "scenario", "variant"):
        options[kind] = options[kind] or "all"
    selected = select(options)
    made = report.build(judged(selected, Store(store), date(today)), selected.documentation)
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
