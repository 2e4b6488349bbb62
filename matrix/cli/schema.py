"""``te-matrix schema``: the JSON Schemas of reports, evidence and tables."""

from __future__ import annotations

from pathlib import Path

import click

from matrix.report import schema


@click.command("schema", short_help="Print a JSON Schema, or list their names.")
@click.argument("name", type=click.Choice(schema.NAMES), required=False)
@click.option("--write", "place", type=click.Path(path_type=Path), help="write all to this folder")
def schema_command(name: str | None, place: Path | None) -> None:
    """Print the JSON Schema of NAME, or list the names."""
    if place:
        for path in schema.write(place):
            click.echo(path)
    elif name:
        click.echo(schema.text(name), nl=False)
    else:
        for known in schema.NAMES:
            click.echo(known)
