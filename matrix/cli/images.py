"""``te-matrix images``: the lock of base images, and the images built on them."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from matrix.catalogue.words import RunnerName
from matrix.cli.options import with_band, with_containers, with_git_url, with_json, with_selection
from matrix.errors import MatrixError, SourceUnavailable
from matrix.lane.containers import lock
from matrix.lane.containers.image_spec import BASE, KIND, RELEASE
from matrix.lane.sources import FetchedSources, cache_folder
from matrix.report import console
from matrix.system.counting import counted
from matrix.workflow import containers as docker
from matrix.workflow.containers import ContainerOptions
from matrix.workflow.parts import band_filter
from matrix.workflow.selecting import Request, select


@click.group(
    "images", invoke_without_command=True, short_help="Show, lock, build or remove images."
)
@with_json()
@click.pass_context
def images_command(context: click.Context, as_json: bool) -> None:
    """Show the images that are built, by release."""
    if context.invoked_subcommand:
        return
    client = docker.connect()
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
    click.echo(counted(len(rows), "image"))


@images_command.command("lock", short_help="Refresh the digests of the base images.")
@click.option(
    "--images-lock",
    type=click.Path(path_type=Path),
    help="the lock file to refresh  [TE_MATRIX_IMAGES_LOCK, else the packaged one]",
)
@click.option("--only", help="refresh only images with this text in their name")
@click.option("--dry-run", is_flag=True, help="show the changes and write nothing")
def lock_command(images_lock: Path | None, only: str | None, dry_run: bool) -> None:
    """Ask the registries for the digests of the base images, and show what has changed.

    A digest that cannot be read stays as it is, and makes the exit code 4.
    """
    client = docker.connect()
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


@images_command.command("build", short_help="Build the images of the selected releases.")
@with_selection
@with_containers
@with_band
@with_git_url
@click.option("--offline", is_flag=True, help="fetch no sources; use cached ones")
def build_command(
    request: Request,
    containers: ContainerOptions,
    band: str | None,
    git_url: str | None,
    offline: bool,
) -> None:
    """Build the images of the selected releases that are not built yet."""
    selected = select(request.replace(runner=RunnerName.DOCKER))
    wanted = band_filter(band, selected.documentation)
    progress = console.progress(Console())
    source, runner = docker.runner(
        selected.plan,
        selected.documentation,
        selected.bases,
        containers,
        FetchedSources(git_url, offline=offline),
        progress,
    )
    failed = 0
    for release in filter(wanted, selected.plan.releases.values()):
        try:
            place = source.get(release)
            with runner.image_builder.image(release, place, selected.plan.lane) as image:
                progress.say(f"{release.name}: image {image[7:19]}")
        except MatrixError as error:
            progress.say(f"{release.name}: no image. {error}")
            failed += not isinstance(error, SourceUnavailable)
    click.echo(f"logs: {cache_folder() / 'logs'}")
    raise SystemExit(4 if failed else 0)


@images_command.command("prune", short_help="Remove the images that this harness has built.")
def prune_command() -> None:
    """Remove the images that this harness has built, which have its label."""
    client = docker.connect()
    from matrix.lane.containers import engine, images

    engine.sweep(client)
    removed = images.prune(client)
    for name in removed:
        click.echo(f"removed {name}")
    click.echo(f"{counted(len(removed), 'image')} removed")
