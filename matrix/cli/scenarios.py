"""``te-matrix scenarios``: how checkpoints are made, and which lanes can make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from matrix.catalogue import scenarios
from matrix.catalogue.scenarios import SizedScenario, class_of, fields_of
from matrix.catalogue.words import Lane
from matrix.cli.options import with_json


@click.command("scenarios", short_help="Show the scenarios, and which lanes run them.")
@click.option(
    "--scenarios",
    "scenario_file",
    type=click.Path(path_type=Path),
    help="a TOML file with further scenarios",
)
@with_json()
def scenarios_command(scenario_file: Path | None, as_json: bool) -> None:
    """Show the scenarios, who has such checkpoints, and which lanes run each, or why not."""
    rows = [_row(each) for each in scenarios.load(scenario_file).values()]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['name']}: {row['summary']}")
        click.echo(f"  {row['module']}, state {row['state']}, weights {row['weights']}")
        click.echo(f"  {_recipes(row)}; device {row['device']} ({row['capability']})")
        click.echo(f"  lanes: {', '.join(row['lanes'])}{_why_not(row)}")


def _row(sized: SizedScenario) -> dict[str, Any]:
    """Return a scenario as plain data; ``not_on_gpu`` has the reasons."""
    chosen = sized.scenario
    shown = ("name", "summary", "module", "layers", "attention", "state", "weights")
    why_not = list(sized.untrained_on_gpu)
    return {
        **chosen.model_dump(include=set(shown), mode="json"),
        "save_recipe": _recipe(chosen.save_recipe),
        "load_recipe": _recipe(chosen.load_recipe),
        "device": chosen.device.value,
        "capability": sized.capability,
        "transport": chosen.transport.model_dump(),
        "documented": sized.documented,
        "lanes": [Lane.CPU.value] if why_not else [Lane.CPU.value, Lane.GPU.value],
        "not_on_gpu": why_not,
    }


def _recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    return {"class": class_of(recipe), **fields_of(recipe)}


def _recipes(row: dict[str, Any]) -> str:
    """Return the recipe, or that of the save and that of the load, with their fields."""
    texts = [
        recipe["class"] + "".join(f" {name}={value}" for name, value in fields_of(recipe).items())
        for recipe in (row["save_recipe"], row["load_recipe"])
    ]
    return " -> ".join(dict.fromkeys(texts))


def _why_not(row: dict[str, Any]) -> str:
    reasons = "; ".join(row["not_on_gpu"])
    return f"; not gpu: {reasons}" if reasons else ""
