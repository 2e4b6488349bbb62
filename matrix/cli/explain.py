"""``te-matrix explain``: one pair, or one error."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from matrix import report
from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.releases import Release
from matrix.catalogue.selection import Selection
from matrix.cli.options import Selected, date, judged, with_store
from matrix.doctor import symptom_page, symptoms
from matrix.errors import ExitCode, UsageError
from matrix.judge import ledger
from matrix.judge.judgement import Judgement
from matrix.plan.cells import plan_cells
from matrix.report import explain
from matrix.store.store import Store


@click.command("explain")
@click.argument("saved_by", required=False)
@click.argument("loaded_by", required=False)
@click.option("--error", "text", help="a traceback or message to explain; - reads it")
@with_store
@click.option("--json", "as_json", is_flag=True, help="print what was found as JSON")
def explain_command(
    saved_by: str | None,
    loaded_by: str | None,
    text: str | None,
    store: str,
    today: Any,
    as_json: bool,
) -> None:
    """Tell what happens to a checkpoint of SAVED_BY in LOADED_BY, why, and what to do.

    With --error, or with a traceback on standard input and no releases: which pairs of
    releases produce that error, why, and what to do; exit 3 if nothing known fits.

    Answers from the store where there is one, else from the recorded evidence.
    """
    kept, day = Store(store), date(today)
    if loaded_by is not None and saved_by is not None and text is None:
        lines = _pair(saved_by, loaded_by, kept, day, as_json)
    elif saved_by is None:
        lines = _error(_read(text), kept, day, as_json)
    else:
        raise UsageError(
            "explain takes two releases, or an error", do="See te-matrix explain --help"
        )
    for line in lines:
        click.echo(line)


def _read(text: str | None) -> str:
    if text in (None, "-"):
        text = sys.stdin.buffer.read().decode(errors="replace") if not sys.stdin.isatty() else ""
    if not text or not text.strip():
        raise UsageError(
            "there is nothing to explain",
            do="Name two releases, or give a traceback with --error or on standard input",
        )
    return text


def _judged(
    savers: Sequence[Release], loaders: Sequence[Release], store: Store, day: Any
) -> Judgement:
    known, documentation = releases.load(), faq.load()
    made = plan_cells(documentation, scenarios.load(), scenarios.variants(), savers, loaders)
    selected = Selected(catalogue=known, documentation=documentation, plan=made, typed=Selection())
    return judged(selected, store, day)


def _pair(saved_by: str, loaded_by: str, store: Store, day: Any, as_json: bool) -> Iterator[str]:
    known = releases.load()
    judgement = _judged([known[saved_by]], [known[loaded_by]], store, day)
    if as_json:
        rows = [
            report.cell_object(v, judgement).model_dump(mode="json") for v in judgement.verdicts
        ]
        yield json.dumps(rows, indent=1)
    else:
        yield from explain.page(judgement, faq.load(), ledger.load())


def _error(text: str, store: Store, day: Any, as_json: bool) -> Iterator[str]:
    everyone = releases.load().releases
    matches = symptoms.match(text, _judged(everyone, everyone, store, day), ledger.load())
    if as_json:
        yield json.dumps([dataclasses.asdict(each) for each in matches], indent=1)
    elif matches:
        yield from symptom_page.page(matches, everyone)
    if not matches:
        if not as_json:
            yield "Nothing that the matrix has seen fail, or that users report, looks like this."
            yield "te-matrix inspect PATH tells where a checkpoint loads."
        raise click.exceptions.Exit(int(ExitCode.INCOMPLETE))
