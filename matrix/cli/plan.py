"""``te-matrix plan``: shows the cells of a selection and estimates what they cost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from matrix.cli.options import DATE, with_json, with_selection, with_store
from matrix.errors import StoreError, os_errors_as
from matrix.plan import estimate
from matrix.plan.estimate import NGC_IMAGE, OTHER_IMAGE, Estimate
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.workflow import containers
from matrix.workflow.selecting import Request, Selected, select


@click.command("plan", short_help="Show the cells of a selection and what they cost.")
@with_selection
@with_store
@click.option("--today", type=DATE, hidden=True, expose_value=False)
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count(), show_default=True)
@with_json("print every cell as JSON")
@click.option(
    "--graph",
    "graph_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="write the saves and loads to do, and what each needs, to this file as JSON",
)
def plan_command(
    request: Request, store: Store, jobs: int, as_json: bool, graph_file: Path | None
) -> None:
    """Show the cells of a selection, how many are known, and what the others cost. Runs nothing.

    Times are estimated from earlier saves and loads, in the store or in the recorded evidence.
    """
    selected = select(request, store)
    index = selected.evidence
    if as_json:
        rows = [
            dict(cell._asdict(), id=cell.id, known=estimate.state(index, cell))
            for cell in selected.plan.cells
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    kinds, engine = containers.to_build(selected.plan, selected.bases)
    images = None if kinds is None else tuple(kinds)
    size = sum(NGC_IMAGE if kind == "ngc" else OTHER_IMAGE for kind in (kinds or {}).values())
    found = estimate.estimate(index, images, size)
    _print(selected, found, jobs, engine)
    if graph_file:
        text = json.dumps(estimate.graph(found, index), indent=1)
        do = "Name another file with --graph"
        with os_errors_as(StoreError, f"{graph_file} cannot be written", do):
            graph_file.write_text(text, encoding="utf-8")
        click.echo(f"graph: {graph_file}")


def _print(selected: Selected, found: Estimate, jobs: int, engine: bool) -> None:
    made = selected.plan
    click.echo(f"savers:  {', '.join(release.name for release in made.savers)}")
    click.echo(f"loaders: {', '.join(release.name for release in made.loaders)}")
    click.echo(f"scenarios: {', '.join(made.scenarios)}; variants: {', '.join(made.variants)}")
    click.echo(
        f"{counted(len(made.cells), 'cell')}: {found.known} known live, "
        f"{found.recorded} known from the recorded evidence, "
        f"{len(made.cells) - found.known - found.recorded} unknown"
    )
    cells = counted(found.cells, "cell")
    made_by = sum(node.does == "save" for node in found.nodes)
    saves, loads = counted(made_by, "save"), counted(len(found.nodes) - made_by, "load")
    click.echo(
        f"lane {made.lane.value}, runner {made.runner.value}: {cells} to run in "
        f"{saves} and {loads}, controls included"
        + (f"; {found.shared} more share a state" if found.shared else "")
    )
    if found.images is not None:
        doubt = "" if engine else " (no engine answers, so none is known to be there)"
        click.echo(f"images to build: {len(found.images)}{doubt}")
    click.echo(
        f"estimated: {_time(found.on(jobs))} on {counted(jobs, 'job')}, sources fetched"
        + (" and images built" if found.images is not None else "")
        + f"; {_bytes(found.disk)} of disk"
        + ("" if found.timed else "; nothing was ever timed in this lane, so the time is a guess")
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
