"""``te-matrix bands``: groups of releases that behave alike, compared with the FAQ's bands."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator, Sequence

import click

from matrix import report
from matrix.catalogue import releases
from matrix.catalogue.selection import EVERYTHING
from matrix.cli.options import with_json, with_selection, with_store, with_today
from matrix.errors import UsageError
from matrix.report import behaviour, commonality
from matrix.report.behaviour import BehaviourBands
from matrix.report.commonality import SharedShift
from matrix.store.store import Store
from matrix.workflow import correcting
from matrix.workflow.selecting import Request, select

_IN_FULL = 3
"""The most scenarios that are listed one by one, instead of what they have in common."""


@click.command("bands", short_help="Group releases that behave alike; compare the FAQ's bands.")
@with_selection
@with_store
@with_today
@click.option("--faq", "as_faq", is_flag=True, help="print a patch of the FAQ instead")
@with_json()
def bands_command(
    request: Request, store: Store, today: datetime.date, as_faq: bool, as_json: bool
) -> None:
    """Group releases that save and load alike, and compare the groups with the FAQ's bands.

    The default is all releases, scenarios and variants. Of more than three scenarios, what all
    modules have in common comes first, then what is one module's own.

    With --faq, print a patch of docs/faq.rst in Transformer Engine's repository, after which its
    list of behaviours agrees with every observed load; `git apply` takes it. It is about all
    releases and the FAQ's own scenarios. Where one of their cells has no outcome, there is none.
    """
    if as_faq:
        if as_json:
            raise UsageError("a patch cannot be printed as JSON", do="Leave out --json")
        click.echo(correcting.patch(request, store, today), nl=False)
        return
    selected = select(request, store, defaults=EVERYTHING)
    made = report.build(selected.judge(today), selected.documentation)
    order = releases.order(selected.plan.releases)
    found = list(behaviour.discover(made, order))
    shared = commonality.shared(made, found)
    if as_json:
        parts = {
            "shared": [dataclasses.asdict(one) for one in shared],
            "scenarios": [dataclasses.asdict(one) for one in found],
        }
        click.echo(json.dumps(parts, indent=1))
        return
    for line in _lines(found, shared, order):
        click.echo(line)


def _lines(
    found: Sequence[BehaviourBands], shared: Sequence[SharedShift], order: Sequence[str]
) -> Iterator[str]:
    if len(found) > _IN_FULL:
        yield from commonality.lines(shared, found, order)
        return
    for one in found:
        yield from behaviour.lines(one, order)
