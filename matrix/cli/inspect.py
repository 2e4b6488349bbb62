"""``te-matrix inspect``: the FP8 state of a checkpoint, and the releases that load it."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from matrix.checkpoint import casts
from matrix.checkpoint.errors import printable
from matrix.checkpoint.words import Holds
from matrix.cli.options import with_allow, with_git_url, with_json, with_store
from matrix.doctor import Inspection, LoadStatus, ModuleState, Prediction, inspect
from matrix.doctor.live import LiveAnswer, LiveReleases
from matrix.doctor.sightings import HISTORY
from matrix.errors import ExitCode, worst
from matrix.judge import ways
from matrix.lane.sources import FetchedSources
from matrix.report.console import print_table
from matrix.store.store import Store
from matrix.system.counting import counted

_STATUSES = {
    LoadStatus.LOADS: "loads",
    LoadStatus.FROZEN: "loads, then frozen",
    LoadStatus.RESETS: "loses silently",
    LoadStatus.FAILS: "fails",
    LoadStatus.DEPENDS: "depends",
    LoadStatus.UNKNOWN: "not known",
}
_SHOWN_WARNINGS = 20
_SHOWN_MODULES = 2
_DETAIL = 1000  # characters of an error that a table shows; --json has it whole


@click.command("inspect", short_help="Show the FP8 state of a checkpoint and who loads it.")
@click.argument("path", type=Path)
@click.option("--target", help="answer for one release; exit code 1 if it would do harm")
@click.option("--saved-by", help="the release that wrote it, if you know it")
@click.option("--recipe", metavar="CLASS", help="recipe to load with  [the checkpoint's own]")
@click.option(
    "--history",
    type=click.IntRange(min=1),
    default=HISTORY,
    show_default=True,
    help="amax_history_len of the recipe to load with, if it is delayed scaling",
)
@with_allow
@click.option(
    "--live",
    is_flag=True,
    help="have the releases' own code load the extra states, instead of predicting from evidence",
)
@with_git_url
@click.option("--modules", is_flag=True, help="list every module on its own line")
@with_store
@with_json("print the report as JSON")
def inspect_command(
    path: Path,
    target: str | None,
    saved_by: str | None,
    recipe: str | None,
    history: int,
    allow: tuple[str, ...],
    live: bool,
    git_url: str | None,
    modules: bool,
    store: Store,
    as_json: bool,
) -> None:
    """Show which release wrote the checkpoint PATH, its FP8 state, and which releases load it.

    No code in it is executed, and its weights are not read. PATH is a torch.save file, a
    Lightning checkpoint, a safetensors file, or the folder of a sharded checkpoint.

    The exit code is 5 if loading PATH would import or call something that honest checkpoints do
    not hold: do not load it. With --target it is 0 if that release loads PATH as it is, 1 if it
    fails on it, silently loses something of it or freezes it, and 3 if that is not known.

    --live builds the modules of its extra states in each release, in the cpu lane, and has them
    load those, written anew from their values. Of the weights nothing is loaded.
    """
    targets = [target] if target else None
    report = inspect(
        path,
        targets,
        saved_by=saved_by,
        allow=allow,
        store=store,
        recipe=recipe,
        history=history,
        live=LiveReleases(FetchedSources(git_url), allow) if live else None,
    )
    if as_json:
        click.echo(json.dumps(as_object(report), indent=1))
    else:
        _print(Console(), report, every=modules)
    codes = [ExitCode.UNSAFE] if report.warnings else []
    codes += [_target_code(report.targets[0])] if target else []
    sys.exit(int(worst(codes)))


def _target_code(target: Prediction) -> ExitCode:
    if target.harm:
        return ExitCode.DEVIATES
    return ExitCode.OK if target.status == LoadStatus.LOADS else ExitCode.INCOMPLETE


def as_object(report: Inspection) -> dict[str, Any]:
    """Return a report as plain data."""
    return {**dataclasses.asdict(report), "path": str(report.path)}


def _print(console: Console, report: Inspection, *, every: bool) -> None:
    def say(line: str) -> None:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    files = counted(report.files, "file")
    say(f"{report.path}: {report.format}, {files}, {counted(report.keys, 'key')}")
    say(_origin(report))
    for reason in report.reasons:
        say(f"  {reason}")
    for note in report.notes:
        say(f"note: {note}")
    for name in report.warnings[:_SHOWN_WARNINGS]:
        say(f"warning: its pickle names {name}; it was not executed, loading the file would")
    if len(report.warnings) > _SHOWN_WARNINGS:
        say(f"warning: and {len(report.warnings) - _SHOWN_WARNINGS} more; --json has them all")
    if report.modules:
        print_table(console, _modules(report.modules, every=every))
        say(_stake(report))
        say(_assumption(report))
    print_table(console, _targets(report.targets, ruled=console.is_terminal))
    unknown = any(target.status == LoadStatus.UNKNOWN for target in report.targets)
    if unknown and report.modules and not report.live:
        say("where it is not known: --live has the releases' own code load the extra states")
    for answer in report.live[:1] if len(report.targets) == 1 else ():
        print_table(console, _live(answer))
        for what in answer.unasked:
            say(f"not asked: {what}")


def _origin(report: Inspection) -> str:
    if not report.savers and report.reasons:
        return (
            "written by: no single release; it holds states of several, or was rewritten or edited"
        )
    if not report.savers:
        return "written by: cannot be told"
    bands = ", ".join(report.bands)
    return f"written by: {_run(report.savers)} (the FAQ's band {bands})"


def _run(names: Iterable[str]) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else f"one of {names[0]} to {names[-1]}"


def _stake(report: Inspection) -> str:
    if report.nothing_to_lose:
        return "no module holds FP8 metadata but defaults: there is nothing to lose"
    holding = [module for module in report.modules if module.holds == Holds.METADATA]
    attention = sum(module.attention for module in holding)
    unread = sum(module.holds == Holds.UNREADABLE for module in report.modules)
    more = f"; {counted(unread, 'state')} cannot be read, and may hold some" if unread else ""
    return (
        f"FP8 metadata that a reset would lose: of {counted(len(holding), 'module')}, "
        f"{attention} of them attention{more}"
    )


def _assumption(report: Inspection) -> str:
    """Return what the answers assume of the recipe to load with, as a sentence."""
    recipe = report.assumed.recipe or "the checkpoint's own"
    lengths = sorted({module.history for module in report.modules if module.history})
    held = f", where the states have {', '.join(map(str, lengths))}" if lengths else ""
    return (
        f"assumed of the recipe to load with: its class is {recipe} (--recipe), its "
        f"amax_history_len {report.assumed.history} (--history){held}"
    )


def _modules(modules: Iterable[ModuleState], *, every: bool) -> Table:
    table = Table(title="FP8 state", title_justify="left")
    for heading in ("state", "count", "holds", "container", "slots", "history", "of"):
        table.add_column(heading, overflow="fold")
    for (name, *facts), count in _alike(modules, every=every):
        cells = (Text(printable(cell)) for cell in (name, str(count), *facts))
        table.add_row(*cells)
    return table


def _alike(modules: Iterable[ModuleState], *, every: bool) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield a row for modules that differ only by a number in their path, and how many."""
    counted: Counter[tuple[str, ...]] = Counter()
    for module in modules:
        name = module.key if every else re.sub(r"(?<![^./_])\d+(?![^./_])", "*", module.key)
        mark = ", mark of registration" if module.marked else ""
        problem = f": {module.problem}" if module.problem else ""
        holds = f"{module.holds.value}{mark}{problem}"
        how = "cast to" if module.cast in casts.CASTS else "saved as"
        container = f"{module.container}{f', {how} {module.cast}' if module.cast else ''}"
        slots = "{} + {}".format(*module.slots) if module.slots else ""
        history = str(module.history or "")
        counted[name, holds, container, slots, history, _of(module)] += 1
    yield from counted.items()


def _of(module: ModuleState) -> str:
    """Return the modules that a state can be of, and its recipe, as text."""
    more = len(module.modules) - _SHOWN_MODULES
    shown = " or ".join(module.modules[:_SHOWN_MODULES]) + (
        f" or {counted(more, 'other')}" if more > 0 else ""
    )
    return f"{shown}, {module.recipe}" if module.recipe else shown


def _targets(targets: Iterable[Prediction], *, ruled: bool) -> Table:
    """Return what releases do; ``ruled`` where rows take more than one line."""
    table = Table(title="loaded by", title_justify="left", show_lines=ruled)
    for heading in ("release", "outcome", "what to expect", "what makes it work"):
        table.add_column(heading, overflow="fold")
    for names, target in grouped(targets):
        span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        step = target.step
        if len(names) > 1:
            step = step.replace(f"--to {names[0]}", f"--to {ways.ANY}")
        if target.given_up:
            step = f"{step or 'Nothing'}. Given up: {'; '.join(target.given_up)}"
        cells = (span, _STATUSES[target.status], target.detail[:_DETAIL], step)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _live(answer: LiveAnswer) -> Table:
    table = Table(title=f"asked of {answer.release} (lane cpu)", title_justify="left")
    for heading in ("extra state", "alike", "outcome", "what happened"):
        table.add_column(heading, overflow="fold")
    for state in answer.states:
        cells = (state.key, str(state.alike), _STATUSES[state.status], state.detail[:_DETAIL])
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def grouped(targets: Iterable[Prediction]) -> Iterator[tuple[list[str], Prediction]]:
    """Yield runs of releases that do the same, and what the first of them does."""
    names: list[str] = []
    first: Prediction | None = None
    for target in targets:
        if first is not None and _same(first, target):
            names.append(target.release)
            continue
        if first is not None:
            yield names, first
        names, first = [target.release], target
    if first is not None:
        yield names, first


def _same(one: Prediction, other: Prediction) -> bool:
    step = one.step.replace(f"--to {one.release}", f"--to {other.release}")
    return dataclasses.replace(one, release=other.release, step=step) == other
