"""``te-matrix pytorches``: compares what was observed under several versions of PyTorch."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator

import click

from matrix.catalogue import ranges, releases
from matrix.cli.options import with_json
from matrix.errors import ExitCode, UsageError
from matrix.judge import pytorches
from matrix.judge.pytorches import TorchComparison
from matrix.store.archive import is_exported
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.workflow.reading import read_records

SHOWN = 50
"""The most saves and cells whose differences are printed; ``--json`` has them all."""


@click.command("pytorches", short_help="Compare runs under several versions of PyTorch.")
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@with_json("print the whole comparison as JSON")
def pytorches_command(stores: tuple[str, ...], as_json: bool) -> None:
    """Compare what was observed under several versions of PyTorch, cell by cell.

    STORE is a store or an exported file; each record says which PyTorch it was made with. The
    exit code is 1 if a save or a cell is not the same under all versions that have it.
    """
    found = pytorches.compare(record for place in stores for record in read_records(place))
    if len(found.coverage) < 2 or not found.compared:
        seen = ", ".join(one.torch for one in found.coverage) or "none"
        raise UsageError(
            "there is nothing to compare",
            why=f"no save and no cell was observed under two versions of PyTorch, only: {seen}",
            do="Name a store of each version, of runs of the same releases and scenarios",
        )
    lacking = {place: list(_lacking(place)) for place in stores}
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(found), "lacking": lacking}, indent=1))
    else:
        _print(found, lacking)
    sys.exit(int(ExitCode.DEVIATES if found.differences else ExitCode.OK))


def _lacking(place: str) -> Iterator[str]:
    """Yield why releases could not take part in a store's runs, each cause once."""
    if is_exported(place):
        return
    store = Store(place)
    took_part = {record.release for record in read_records(place)}
    attempts = [attempt for found in store.attempts().values() for attempt in found]
    causes = {(one.lacking, one.message) for one in attempts if one.lacking}
    order = releases.order(name for name, _why in causes)
    for name, why in sorted(causes, key=lambda cause: order.index(cause[0])):
        if name not in took_part:
            yield " ".join(why.split())


def _print(found: TorchComparison, lacking: dict[str, list[str]]) -> None:
    order = releases.order(name for one in found.coverage for name in one.releases)
    for one in found.coverage:
        named = ranges.text(one.releases, order)
        click.echo(
            f"PyTorch {one.torch}: {counted(len(one.releases), 'release')} ({named}), "
            f"{counted(one.saves, 'save')}, cells and controls: {one.cells}; "
            f"{one.compared} compared"
        )
    for place, causes in lacking.items():
        for why in causes:
            click.echo(f"{place}: {why}")
    for where in found.differing[:SHOWN]:
        for difference in found.differences:
            if difference.where == where:
                click.echo(f"{where}: {difference.what}")
                for torch, fact in difference.seen.items():
                    click.echo(f"    PyTorch {torch}  {fact}")
    if len(found.differing) > SHOWN:
        click.echo(f"... and {len(found.differing) - SHOWN} more; --json has them all")
    click.echo(f"saves and cells: {found.compared} compared, {len(found.differing)} different")
