"""``te-matrix releases``: the catalogue of releases."""

from __future__ import annotations

import json
from pathlib import Path

import click

from matrix.catalogue import faq, releases
from matrix.cli.options import with_json
from matrix.lane import asking, sources
from matrix.lane.binding.sources import with_extension
from matrix.system.counting import counted


@click.group("releases", invoke_without_command=True, short_help="Show the catalogue of releases.")
@with_json()
@click.pass_context
def releases_command(context: click.Context, as_json: bool) -> None:
    """Show the catalogue of releases."""
    if context.invoked_subcommand:
        return
    documentation = faq.load()
    rows = [
        {"name": release.name, "band": documentation.band(release).name, "source": release.source}
        | release.model_dump(exclude={"digest", "path"}, exclude_none=True, mode="json")
        for release in releases.load().releases
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        image = row.get("image", "-").rpartition("/")[2]
        basis = " (inferred)" if row.get("basis") == "inferred" else ""
        click.echo(
            f"{row['name']:8} {row['band']:9} {row['source']:20} {image + basis:32} "
            f"python {row.get('python', '-'):8} cuda {row.get('cuda', '-'):10} "
            f"torch {row.get('torch', '-')}"
        )


@releases_command.command("sync", short_help="Propose rows for releases that it lacks.")
@click.option("--output", type=click.Path(path_type=Path), help="write the rows to this file")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path),
    help="keep their wheels in this folder, for `te-matrix qualify`",
)
def sync(output: Path | None, wheels: Path | None) -> None:
    """Propose rows for published releases that the catalogue lacks, and ask what each has."""
    known = releases.load()
    new = releases.missing(known, releases.published())
    if not new:
        click.echo(
            f"the catalogue has every published release ({counted(len(known.releases), 'row')})"
        )
        return
    rows = [with_extension(sources.describe(version, wheels)) for version in new]
    text = "\n".join(map(releases.render, rows))
    for line in asking.asked(rows):
        click.echo(f"# {line}", err=output is None)
    if output:
        output.write_text(text)
        click.echo(f"{len(new)} new: {', '.join(new)}; rows for review in {output}")
    else:
        click.echo(text)
