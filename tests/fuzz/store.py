"""The records of a store, and what is judged and reported of them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import fsspec

from fuzz.altering import altered
from fuzz.altering import seeds as seeds_of
from helpers.builders import a_plan, some_records
from matrix import report
from matrix.catalogue import faq
from matrix.catalogue.selection import Selection
from matrix.errors import MatrixError
from matrix.judge import judge, ledger
from matrix.plan.evidence_index import EvidenceIndex
from matrix.report import document
from matrix.store.store import Store

_RECORDS = some_records()
_DOCUMENTS: list[Any] = [record.model_dump(mode="json") for record in _RECORDS]
_FOLDERS = {"save": "saves", "load": "loads", "attempt": "attempts"}
_FAQ, _LEDGER, _TODAY = faq.load(), ledger.load(), datetime.date(2026, 11, 24)
_MEMORY = fsspec.filesystem("memory")


def one(data: bytes) -> None:
    """Put one input among good records, once in the place of each kind, and judge."""
    record = altered(data, _DOCUMENTS)
    for folder in _FOLDERS.values():
        _judge(folder, record)
    _remembered(record)


def _judge(folder: str, record: bytes) -> None:
    _MEMORY.store.clear()
    store = Store("memory://fuzzed")
    store.prepare()
    for good in _RECORDS:
        store.add_attempt(good) if good.record == "attempt" else store.add(good)
    _MEMORY.pipe(f"/fuzzed/{folder}/{_key(record)}-x.json", record)
    made = a_plan(["1.7", "1.8"], ["1.11"])
    try:
        found = judge.judge(EvidenceIndex(made, store, None), _FAQ, _LEDGER, _TODAY)
    except MatrixError:
        return
    assert sum(found.totals.values()) == len(made.cells)
    document.text(report.build(found, _FAQ))
    report.page.render(found, report.build(found, _FAQ), Selection())


def _key(record: bytes) -> str:
    try:
        return "".join(c for c in str(json.loads(record)["key"]) if c.isalnum())
    except (ValueError, KeyError, TypeError, RecursionError):
        return "x"


def _remembered(record: bytes) -> None:
    _MEMORY.pipe("/fuzzed/selection.json", record)
    try:
        Store("memory://fuzzed").remembered()
    except MatrixError:
        return


def seeds() -> Iterator[bytes]:
    """Yield records, and inputs that alter them."""
    yield from seeds_of(_DOCUMENTS)
    yield b'{"releases": "bands"}'
