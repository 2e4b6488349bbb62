"""``te-matrix bisect``: the commits at which outcomes change."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix.catalogue import changes
from matrix.catalogue.changes import Changes
from matrix.cli.options import (
    LocalArguments,
    gathered_in,
    with_json,
    with_local,
    with_store,
)
from matrix.errors import ExitCode, StoreError, UsageError, os_errors_as
from matrix.lane import git
from matrix.lane.run import RunOptions
from matrix.plan.cells import Cell
from matrix.report import changes_page, console
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.system.progress import Progress
from matrix.workflow import arguments, tracing
from matrix.workflow.commit_cells import Seen, Side
from matrix.workflow.history import History
from matrix.workflow.locating import Located
from matrix.workflow.tracing import Differences, Trace

_FILE = click.Path(path_type=Path, dir_okay=False)
_EXAMPLE = "`te-matrix bisect 'autocast/plain/1.13->2.4' --good 2.4 --bad 2.3`"
_SHOWN = 12
"""The most commits of a range that are listed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneCell:
    """The options that trace one cell; their help explains them."""

    cell: str | None
    good: str | None
    bad: str | None
    side: Side | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Everything:
    """The options that trace all changes; their help explains them."""

    everything: bool
    releases: str | None
    scenario: str | None
    dry_run: bool
    output: Path | None
    page: Path | None


@click.command("bisect", short_help="Name the commit at which a cell's outcome changes.")
@click.argument("cell", required=False)
@click.option("--good", metavar="REF", help="a release, branch, tag or commit")
@click.option("--bad", metavar="REF", help="the other end of the range; either may be the older")
@click.option(
    "--side",
    type=click.Choice(["loader", "saver"]),
    help="the side of CELL that is walked  [default: its candidate's, else the loader]",
)
@gathered_in(OneCell, "one")
@click.option("--all", "everything", is_flag=True, help="every change between two releases")
@click.option("--releases", help="with --all: changes at these releases only")
@click.option(
    "--scenario",
    help="with --all: changes in these scenarios only, which replace those of others in the table",
)
@click.option("--dry-run", is_flag=True, help="with --all: say what there is to do, run nothing")
@click.option(
    "--output", type=_FILE, help="with --all: the table to write  [default: te-matrix-changes.toml]"
)
@click.option("--page", type=_FILE, help="with --all: a page of Markdown to write, too")
@gathered_in(Everything, "whole")
@with_store
@with_local
@with_json()
def bisect_command(
    one: OneCell,
    whole: Everything,
    store: Store,
    local: LocalArguments,
    as_json: bool,
) -> None:
    """Walk Transformer Engine's git history, and name the commit that changes CELL's outcome.

    CELL is named as in reports: SCENARIO/VARIANT/SAVED_BY->LOADED_BY. Each commit takes the place
    of its loading, or saving, release, in the cpu lane. A commit that cannot be judged is skipped.

    With --all, every change of behaviour between neighbouring releases is traced and written to a
    table, release by release; what is known from an earlier run is not run again.

    Exit codes: 0 every change is one commit, 3 a range is left or an end cannot be judged.
    """
    if whole.everything:
        _refuse_other(one, "--all takes no cell and no ends")
        sys.exit(int(_trace_all(whole, store, local, as_json)))
    _refuse_other(whole, "--releases, --scenario, --dry-run, --output and --page go with --all")
    sys.exit(int(_trace_one(one, store, local, as_json)))


def _refuse_other(options: OneCell | Everything, why: str) -> None:
    if any(dataclasses.astuple(options)):
        raise UsageError("bisect traces one cell, or all changes", why=why, do=f"See {_EXAMPLE}")


def _trace_one(one: OneCell, store: Store, local: LocalArguments, as_json: bool) -> ExitCode:
    if one.cell is None or one.good is None or one.bad is None:
        raise UsageError("bisect takes a cell, --good and --bad", do=f"{_EXAMPLE}, or --all")
    cell = Cell.named(one.cell)
    side = one.side or ("saver" if "@" in cell.saved_by else "loader")
    options = RunOptions(local.jobs, local.timeout)
    with tracing.opened(store, local.git_url, options, offline=local.offline) as tracer:
        trace = tracer.cell(cell, one.good, one.bad, side, _Judged())
    for line in [json.dumps(_facts(trace, cell), indent=1)] if as_json else _lines(trace, cell):
        click.echo(line)
    return trace.exit_code


class _Judged(Progress):
    """Shows every commit that was judged, apart from the result."""

    def say(self, line: str) -> None:
        click.echo(line, err=True)


def _trace_all(whole: Everything, store: Store, local: LocalArguments, as_json: bool) -> ExitCode:
    request = arguments.request(
        candidate_as=None, ledger_file=None, releases=whole.releases, scenario=whole.scenario
    )
    found, made = tracing.differences(request, store)
    if whole.dry_run:
        history = History(git.chosen_url(local.git_url), offline=local.offline)
        _print_estimate(found, history, as_json)
        return ExitCode.OK
    output = whole.output or Path("te-matrix-changes.toml")
    table = changes.load(output) if output.exists() else Changes()
    options = RunOptions(local.jobs, local.timeout)
    progress = console.progress(Console(stderr=True))
    with tracing.opened(store, local.git_url, options, offline=local.offline) as tracer:
        for rows in tracer.all(found, made, progress):
            table = tracing.with_rows(table, rows)
            changes.write(output, table)
    if whole.page:
        with os_errors_as(StoreError, f"{whole.page} cannot be written"):
            whole.page.write_text(changes_page.page(table), encoding="utf-8")
    click.echo(table.model_dump_json(indent=1) if as_json else f"table: {output}")
    return tracing.exit_code(table.change)


def _print_estimate(found: Differences, history: History, as_json: bool) -> None:
    commits, seconds = tracing.estimate(found, history)
    facts = {
        "pairs_of_releases": len(found),
        "differences": sum(map(len, found.values())),
        "cells": sum(len(one.pairs) for members in found.values() for one in members),
        "commits": commits,
        "seconds": round(seconds),
    }
    text = (
        "{differences} differences in {cells} cells between {pairs_of_releases} pairs of "
        "releases: about {commits} commits to judge, {seconds} s of processor time"
    )
    click.echo(json.dumps(facts, indent=1) if as_json else text.format(**facts))


def _lines(trace: Trace, cell: Cell) -> Iterator[str]:
    """Yield what was traced as lines of text."""
    names = ("good", "bad") if trace.good_is_older else ("bad", "good")
    commits = counted(len(trace.judged), "commit")
    yield f"{cell.id}, the {trace.walked.side} walked through {commits}"
    for name, commit, seen in zip(names, (trace.older, trace.newer), trace.ends, strict=True):
        yield f"  {name} {commit[:9]}: {seen.text}"
    for one in trace.located:
        yield from _located_lines(one)


def _located_lines(one: Located) -> Iterator[str]:
    lacks = ", which the newer end does not come from" if one.way == "lacks" else ""
    if one.basis == "commit":
        yield f"{one.commit.id}{lacks}"
    else:
        yield f"one of {counted(len(one.left), 'commit')} up to {one.commit.id}{lacks}: {one.why}"
    yield f"  {one.commit.date[:10]} {one.commit.subject}"
    if one.pulls:
        yield f"  pull request: {', '.join(f'#{number}' for number in one.pulls)}"
    if one.main and one.main.id != one.commit.id:
        how = ", which changes the outcome in the same way" if one.alike else ""
        yield f"  on main: {one.main.id} {one.main.subject}{how}"
    yield f"  before: {one.before.text}"
    yield f"  after: {one.after.text}"
    if one.files:
        yield f"  {'on the path of the error' if one.on_path else 'files'}: {', '.join(one.files)}"
    for commit in one.left[:_SHOWN]:
        yield f"  left: {commit}"
    if len(one.left) > _SHOWN:
        yield f"  and {len(one.left) - _SHOWN} more, see --json"


def _facts(trace: Trace, cell: Cell) -> dict[str, Any]:
    """Return what was traced as JSON."""
    return {
        "cell": cell.id,
        "side": trace.walked.side,
        "older": {"commit": trace.older, "good": trace.good_is_older, **_seen(trace.ends[0])},
        "newer": {"commit": trace.newer, "good": not trace.good_is_older, **_seen(trace.ends[1])},
        "changes": [
            {
                **dataclasses.asdict(one),
                "pulls": one.pulls,
                "before": _seen(one.before),
                "after": _seen(one.after),
            }
            for one in trace.located
        ],
        "judged": {commit: _seen(seen) if seen else None for commit, seen in trace.judged.items()},
    }


def _seen(seen: Seen) -> dict[str, str]:
    return {"outcome": seen.outcome, "reason": seen.reason}
