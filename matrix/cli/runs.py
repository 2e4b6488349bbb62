"""Runs named on a command line: a store or a report.json, and what a gate asks of it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import click

from matrix import report
from matrix.cli.options import judged, select, selecting
from matrix.errors import UsageError, nearest
from matrix.gate.policies import POLICIES, Policy
from matrix.report import document
from matrix.report.document import Report
from matrix.store.archive import Archive, is_exported
from matrix.store.records import Load, Save
from matrix.store.store import Store


def a_run(place: str, options: dict[str, Any], today: datetime.date | None = None) -> Report:
    """Return a run as a report: read from a report.json, or judged from a store.

    :param options: the selection options; where they hold none, what the store's own last
        run selected.
    :param today: the date that ledger entries expire by; without it, the real one.
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
    judgement = judged(selected, store, today or datetime.date.today())
    return report.build(judgement, selected.documentation)


def records(place: str) -> list[Save | Load]:
    """Return every save and load of a store, or of an exported file.

    :raises UsageError: there is nothing at ``place``.
    """
    if is_exported(place):
        return Archive(Path(place)).records()
    store = Store(place)
    if not store.exists():
        raise UsageError(
            f"{place} is neither a store nor an exported file",
            do="Name a folder that `te-matrix run --store` wrote, or a .jsonl or .jsonl.gz file",
        )
    saves = [save for found in store.saves().values() for save in found]
    return [*saves, *(load for found in store.loads().values() for load in found)]


def selection_of(words: list[str]) -> dict[str, Any]:
    """Return the selection options that ``words`` spell.

    :raises UsageError: they spell something else.
    """
    command = click.command("selection")(selecting(lambda **options: options))
    try:
        with command.make_context("selection", list(words)) as context:
            return dict(context.params)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error


def a_policy(
    name: str, baseline: str | None, options: dict[str, Any], today: Any = None, **demands: Any
) -> Policy:
    """Return what a command line asks of a gate.

    :param baseline: a store or report.json, for ``no-regression``.
    :param demands: the other fields of :class:`Policy`.
    :raises UsageError: the policy is unknown, or has a baseline too many or too few.
    """
    if name not in POLICIES:
        raise UsageError(f"there is no policy {name}", do=nearest(name, POLICIES))
    if (name == "no-regression") != (baseline is not None):
        raise UsageError(
            "policy no-regression needs a baseline, and no other policy has one",
            do="Give --baseline STORE|report.json with --policy no-regression",
        )
    # A candidate is new by nature: a baseline of its own selection cannot have it.
    before = a_run(baseline, options | {"candidate": ()}, today) if baseline else None
    return Policy(name=name, baseline=before, **demands)
