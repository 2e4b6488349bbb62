"""``te-matrix plan``: what a selection means, running nothing."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from matrix import plan, recorded
from matrix.cli.options import select, selecting, with_store
from matrix.index import Index
from matrix.store import Store


@click.command("plan")
@selecting
@with_store
@click.option("--json", "as_json", is_flag=True, help="print every cell as JSON")
def plan_command(as_json: bool, store: str, today: Any, **options: Any) -> None:
    """Show which cells a selection means, and how many are known already."""
    selected = select(options)
    index = Index(selected.plan, Store(store), recorded.evidence(selected.plan.lane))
    cells = [(cell, _state(index, cell)) for cell in selected.plan.cells]
    if as_json:
        rows = [dict(dataclasses.asdict(cell), id=cell.id, known=state) for cell, state in cells]
        click.echo(json.dumps(rows, indent=1))
        return
    states = [state for _cell, state in cells]
    made = selected.plan
    click.echo(f"savers:  {', '.join(release.name for release in made.savers)}")
    click.echo(f"loaders: {', '.join(release.name for release in made.loaders)}")
    click.echo(f"scenarios: {', '.join(made.recipes)}; variants: {', '.join(made.variants)}")
    click.echo(
        f"{len(cells)} cells: {states.count('live')} known live, "
        f"{states.count('recorded')} known from the recorded evidence, "
        f"{states.count('unknown')} unknown"
    )


def _state(index: Index, cell: plan.Cell) -> str:
    releases = index.plan.releases
    saved = index.save(cell.scenario, releases[cell.saved_by])
    if saved is None:
        return "unknown"
    loaded = index.load(cell.scenario, cell.variant, saved.records[0], releases[cell.loaded_by])
    if loaded is None:
        return "unknown"
    return "live" if saved.live and loaded.live else "recorded"
