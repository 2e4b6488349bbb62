"""``te-matrix explain``: explains one pair of releases, or one error."""

from __future__ import annotations

import codecs
import dataclasses
import datetime
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from matrix import report
from matrix.catalogue import releases
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.selection import EVERYTHING, Selection
from matrix.cli.options import with_json, with_store, with_today
from matrix.doctor import symptoms
from matrix.doctor.symptoms import page
from matrix.errors import ExitCode, UsageError, os_errors_as
from matrix.report import explain
from matrix.store.store import Store
from matrix.workflow.selecting import Request, Selected, select

_FILE_NAME = re.compile(r"(?=.*[/\\]|.*\.(?:txt|log|out|err)$)\S{1,255}")


@click.command("explain", short_help="Explain a pair of releases, or an error.")
@click.argument("saved_by", required=False)
@click.argument("loaded_by", required=False)
@click.option(
    "--error",
    "text",
    metavar="TEXT|FILE|-",
    help="the traceback or message to explain, the file that has it, or - for standard input",
)
@with_store
@with_today
@with_json("print what was found as JSON")
def explain_command(
    saved_by: str | None,
    loaded_by: str | None,
    text: str | None,
    store: Store,
    today: datetime.date,
    as_json: bool,
) -> None:
    """Explain what happens to a checkpoint of SAVED_BY in LOADED_BY, why, and what to do.

    With --error, or with a traceback on standard input and no releases: whether an error is
    Transformer Engine's, which pairs of releases raise it, why, and what to do. The exit code
    is 3 if nothing in the text shows that it is, or its cause is not known.

    The answer on a pair is from the store, if there is one, and from the recorded evidence; that
    on an error from the recorded evidence alone.
    """
    if loaded_by is not None and saved_by is not None and text is None:
        lines = _pair(saved_by, loaded_by, store, today, as_json)
    elif saved_by is None:
        lines = _error(_read(text), as_json)
    else:
        raise UsageError(
            "explain takes two releases, or an error", do="See te-matrix explain --help"
        )
    for line in lines:
        click.echo(line)


def _read(text: str | None) -> str:
    if text in (None, "-"):
        text = _decoded(sys.stdin.buffer.read()) if not sys.stdin.isatty() else ""
    elif text and os.path.isfile(text):  # noqa: PTH113  # Path's raises where a name is too long
        with os_errors_as(UsageError, f"{text} cannot be read", do="Name a file that has a text"):
            text = _decoded(Path(text).read_bytes())
    elif text and _FILE_NAME.fullmatch(text):
        click.echo(f"There is no file {text}: it is taken for the text itself.", err=True)
    if not text or not text.strip():
        raise UsageError(
            "there is nothing to explain",
            do="Name two releases, or give a traceback with --error or on standard input",
        )
    return text


def _decoded(data: bytes) -> str:
    """Return the text of a log; a byte order mark, which Windows shells write, tells UTF-16."""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8", errors="replace")


def _select(store: Store, saved_by: str | None = None, loaded_by: str | None = None) -> Selected:
    """Select all scenarios and variants of one pair of releases, or of all releases."""
    selection = Selection(saved_by=saved_by, loaded_by=loaded_by)
    return select(Request(selection), store, defaults=EVERYTHING)


def _pair(
    saved_by: str, loaded_by: str, store: Store, today: datetime.date, as_json: bool
) -> Iterator[str]:
    known = releases.load()
    selected = _select(store, _one(known, saved_by), _one(known, loaded_by))
    judgement = selected.judge(today)
    if as_json:
        rows = [report.cell_of(v, judgement).model_dump(mode="json") for v in judgement.verdicts]
        yield json.dumps(rows, indent=1)
    else:
        yield from explain.page(judgement, selected.documentation, selected.entries)


def _one(known: Catalogue, name: str) -> str:
    if re.search(r"[-,:/]|^all$|^bands$", name):
        raise UsageError(
            f"explain is about two releases, and {name} is not the name of one",
            do="For ranges there is `te-matrix bands`, for a candidate `te-matrix qualify`",
        )
    return known[name].name


def _error(text: str, as_json: bool) -> Iterator[str]:
    found = symptoms.explain(text)
    if as_json:
        yield json.dumps([dataclasses.asdict(each) for each in found.causes], indent=1)
    if found.causes and not as_json:
        yield from page.page(found, releases.load().releases)
    if not found.causes:
        # With --json, standard output holds the list of causes alone.
        for line in page.page(found, ()):
            click.echo(line, err=as_json)
        raise click.exceptions.Exit(int(ExitCode.INCOMPLETE))
