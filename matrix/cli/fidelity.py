"""``te-matrix fidelity``: compares the observations of the cpu lane with those of a device."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable

import click

from matrix.catalogue.words import Lane
from matrix.cli.options import with_json
from matrix.errors import ExitCode, UsageError
from matrix.judge import fidelity
from matrix.judge.fidelity import Fidelity
from matrix.store import recorded
from matrix.store.records import Load, Save
from matrix.system.counting import counted
from matrix.workflow.reading import read_records

RECORDED = "recorded"


@click.command("fidelity", short_help="Compare the cpu lane with a device.")
@click.argument("cpu")
@click.argument("device")
@click.option("--binding", is_flag=True, help="DEVICE holds runs of the cpu lane with --binding")
@with_json("print the whole comparison as JSON")
def fidelity_command(cpu: str, device: str, binding: bool, as_json: bool) -> None:
    """Compare observations of the CPU lane with those of a DEVICE; exit code 1 if they differ.

    CPU and DEVICE are a store, an exported file, or the word `recorded`.
    """
    there = fidelity.on_the_binding if binding else fidelity.on_a_device
    here = fidelity.by_scenario(_records(Lane.CPU, cpu), fidelity.on_the_standin)
    lane = Lane.CPU if binding else Lane.GPU
    found = fidelity.compare(here, fidelity.by_scenario(_records(lane, device), there))
    if not found.compared:
        raise UsageError(
            f"{cpu} and {device} have no save and no cell in common",
            why=f"the device alone has {len(found.device_only)}",
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=1))
    else:
        _print(found)
    sys.exit(int(ExitCode.DEVIATES if found.differences else ExitCode.OK))


def _records(lane: Lane, place: str) -> Iterable[Save | Load]:
    if place != RECORDED:
        return read_records(place)
    kept = recorded.evidence(lane)
    if kept is None:
        raise UsageError(
            f"no evidence of the {lane.value} lane is recorded",
            do="Name a store or an exported file",
        )
    return kept.records()


def _print(found: Fidelity) -> None:
    for difference in found.differences:
        click.echo(f"{difference.where}: {difference.what}")
        click.echo(f"    cpu     {difference.cpu}")
        click.echo(f"    device  {difference.device}")
    if found.device_only:
        click.echo(f"seen by the device alone: {', '.join(found.device_only)}")
    click.echo(
        f"saves and cells seen by both: {len(found.compared)}; "
        f"{counted(len(found.differences), 'difference')}"
    )
