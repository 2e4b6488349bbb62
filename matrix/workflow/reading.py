"""Reports and records of earlier runs, read from a store, a report.json or an exported file."""

from __future__ import annotations

import datetime
from pathlib import Path

from matrix import report
from matrix.errors import UsageError
from matrix.report import document
from matrix.report.document import Report
from matrix.store.archive import Archive, is_exported
from matrix.store.records import Load, Save
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select


def read_report(place: str, request: Request, today: datetime.date) -> Report:
    """Return the report of a run, read from a report.json or judged from a store.

    :param place: path of a report.json, or path or URL of a store.
    :param request: the cells to judge; an empty selection means that of the store's last run.
    :param today: the date that ledger entries expire by.
    :raises UsageError: ``place`` is neither.
    """
    if place.endswith(".json"):
        return document.read(Path(place))
    store = open_store(place, "a report.json", "a report.json")
    selected = select(request, store, resume=True)
    return report.build(selected.judge(today), selected.documentation)


def read_records(place: str) -> list[Save | Load]:
    """Return all saves and loads of a store or of an exported file.

    :param place: path of an exported file, or path or URL of a store.
    :raises UsageError: ``place`` is neither.
    """
    if is_exported(place):
        return Archive(Path(place)).records()
    store = open_store(place, "an exported file", "a .jsonl or .jsonl.gz file")
    saves = [save for found in store.saves().values() for save in found]
    return [*saves, *(load for found in store.loads().values() for load in found)]


def open_store(place: str, other: str, files: str) -> Store:
    """Return the store at a path or URL.

    :param other: what else could have been named.
    :param files: what the user can name instead.
    :raises UsageError: there is no store.
    """
    store = Store(place)
    if not store.exists():
        raise UsageError(
            f"{place} is neither a store nor {other}",
            do=f"Name a folder that `te-matrix run --store` wrote, or {files}",
        )
    return store
