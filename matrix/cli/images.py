"""``te-matrix images``: the base images that are locked, and the images that are built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix.cli import containers
from matrix.cli.containers import Containers, with_containers
from matrix.cli.options import of_band, select, selecting, with_band
from matrix.errors import MatrixError, SourceUnavailable
from matrix.lane.containers import lock
from matrix.lane.containers.image_spec import BASE, KIND, RELEASE
from matrix.lane.sources import FetchedSources, cache_folder
from matrix.report import console


@click.group("images", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def images_command(context: click.Context, as_json: bool) -> None:
    """Show the images that are built, by release."""
    if context.invoked_subcommand:
        return
    client = containers.connect()
    from matrix.lane.containers import images

    rows = [
        {"id": image.id, "tags": image.tags, "created": image.attrs["Created"], **image.labels}
        for image in images.built(client)
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        release, base = row.get(RELEASE, "-"), row.get(BASE, "-")
        click.echo(f"{release:10} {row[KIND]:12} {row['id'][7:19]}  on {base}")
    click.echo(f"{len(rows)} images")


@images_command.command("lock")
@click.option(
    "--images-lock",
    type=click.Path(path_type=Path),
    help="the lock to refresh  [TE_MATRIX_IMAGES_LOCK, else the harness's own]",
)
@click.option("--only", help="refresh only the images whose name holds this text")
@click.option("--dry-run", is_flag=True, help="show the change and write nothing")
def lock_command(images_lock: Path | None, only: str | None, dry_run: bool) -> None:
    """Ask the registries for the digest of every base image, and show what changed.

    A base that no registry tells stays as it is, and makes the exit code 4.
    """
    client = containers.connect()
    from matrix.lane.containers import registry

    path = images_lock or lock.default()
    before = lock.load(path)
    after, failed = [], 0
    for base in before:
        try:
            read = registry.read(client, base) if (only or "") in base.image else base
        except MatrixError as error:
            click.echo(f"te-matrix: {error}", err=True)
            read, failed = base, failed + 1
        after.append(read)
        if read != base:
            click.echo(f"{base.image}\n  - {base.digest}\n  + {read.digest}")
    changed = sum(old != new for old, new in zip(before, after, strict=True))
    if changed and not dry_run:
        lock.write(path, after)
    kept = len(before) - changed - failed
    click.echo(f"{path}: {changed} changed, {kept} as before, {failed} could not be read")
    raise SystemExit(4 if failed else 0)


@images_command.command("build")
@selecting
@with_containers
@with_band
@click.option("--git-url", help="git repository or mirror  [TE_MATRIX_GIT_URL]")
@click.option("--offline", is_flag=True, help="fetch no source; use what is cached")
def build_command(**options: Any) -> None:
    """Build the images of the selected releases, where they are not there yet."""
    options["runner"] = "docker"
    show = Console()
    chosen = Containers.of(options)
    git_url, offline, band = (options.pop(name) for name in ("git_url", "offline", "band"))
    selected = select(options)
    wanted = of_band(band, selected.documentation)
    watching = console.progress(show)
    source, host = containers.runner(
        selected.plan,
        selected.documentation,
        selected.bases,
        chosen,
        FetchedSources(git_url, offline=offline),
        watching,
    )
    failed = 0
    for release in filter(wanted, selected.plan.releases.values()):
        try:
            place = source.get(release)
            with host.image_builder.image(release, place, selected.plan.lane) as image:
                watching.say(f"{release.name}: image {image[7:19]}")
        except MatrixError as error:
            watching.say(f"{release.name}: no image. {error}")
            failed += not isinstance(error, SourceUnavailable)
    click.echo(f"logs: {cache_folder() / 'logs'}")
    raise SystemExit(4 if failed else 0)


@images_command.command("prune")
def prune_command() -> None:
    """Remove the images that this harness built, known by their label, and nothing else."""
    client = containers.connect()
    from matrix.lane.containers import engine, images

    engine.sweep(client)
    removed = images.prune(client)
    for name in removed:
        click.echo(f"removed {name}")
    click.echo(f"{len(removed)} images removed")
