"""Releases in containers: their base images, their digests and their runner."""

from __future__ import annotations

import dataclasses
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import MatrixError, SourceUnavailable, UsageError
from matrix.lane import sources
from matrix.lane.containers import lock
from matrix.lane.containers.lock import BaseImage
from matrix.lane.sources import CodeSource, cache_folder
from matrix.plan.cells import Plan
from matrix.system.progress import Progress

if TYPE_CHECKING:
    import docker

    from matrix.lane.containers.runner import DockerRunner


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContainerOptions:
    """How images are built and containers are run.

    :param allow_unpinned: whether base images without a locked digest are used.
    :param gpu: index or UUID of the GPU; None for the first one.
    :param memory: the memory limit of one container, e.g. ``512m``.
    :param keep_images: the number of releases whose images are kept; None for all.
    """

    allow_unpinned: bool
    gpu: str | None
    memory: str
    keep_images: int | None


def require() -> None:
    """Check that the Docker SDK is installed.

    :raises UsageError: it is not installed.
    """
    try:
        import docker  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "the docker runner needs the Python package docker",
            do="Install this package with its extra `docker`",
        ) from error


def connect() -> docker.DockerClient:
    """Return a client of the container engine.

    :raises UsageError: the Docker SDK is not installed.
    :raises EngineError: no engine answers.
    """
    require()
    from matrix.lane.containers import engine

    client = engine.connect()
    # Commands and cluster workers keep clients for different times: each closes its connections
    # when it is collected.
    weakref.finalize(client, client.api.close)
    return client


def bases(images_lock: Path | None, base: str | None) -> tuple[BaseImage, ...]:
    """Return the locked base images; that of ``--base`` comes first.

    :param images_lock: the lock file; None for the default one.
    :raises MatrixError: the lock or the image name is malformed.
    """
    locked = lock.load(images_lock or lock.default())
    return (*(lock.given(base, locked) if base else ()), *locked)


def candidate(text: str, git_url: str | None) -> tuple[Release, tuple[BaseImage, ...]]:
    """Return a candidate that is given as a path, as a git ref or as an image.

    :returns: the candidate, and the image as its own base image.
    :raises MatrixError: it is none of them, or holds no Transformer Engine.
    """
    if sources.is_git(text):
        return sources.git_candidate(text, git_url), ()
    if Path(text).exists():
        return sources.candidate(Path(text)), ()
    client = connect()
    from matrix.lane.containers.candidate import from_image

    release, base = from_image(client, text)
    return release, (base,)


def identified(known: Catalogue, locked: tuple[BaseImage, ...], lane: Lane) -> Catalogue:
    """Return the catalogue with the digests under which a lane stores its evidence."""
    return Catalogue(tuple(lock.identified(locked, lane, release) for release in known.releases))


def runner(
    plan: Plan,
    documentation: Documentation,
    locked: tuple[BaseImage, ...],
    options: ContainerOptions,
    source: CodeSource,
    progress: Progress,
) -> tuple[CodeSource, DockerRunner]:
    """Return where the code of a plan's releases is, and their runner, after all checks.

    :param locked: the base images to build on.
    :param source: where the code comes from in the cpu lane.
    :raises EngineError: there is no container engine, or it cannot do what is asked.
    """
    client = connect()
    from matrix.lane.containers import gpu, registry
    from matrix.lane.containers.confinement import ContainerLimits
    from matrix.lane.containers.image_builder import ImageBuilder, ImageSources
    from matrix.lane.containers.runner import DockerRunner

    chosen = (options.gpu or "0") if plan.lane == Lane.GPU else None
    if chosen is not None:
        gpu.require_device(client, chosen)
    needed = _needed(plan, locked)
    if not options.allow_unpinned:
        lock.require_pinned(needed)
    if chosen is not None and needed:
        gpu.require_fp8_attention(client, chosen, registry.fetch(client, needed[0]))
    logs = cache_folder() / "logs"
    image_builder = ImageBuilder(client, locked, documentation, logs, progress, options.keep_images)
    host = DockerRunner(client, image_builder, logs, ContainerLimits(memory=options.memory), chosen)
    return ImageSources(locked) if chosen is not None else source, host


def in_images(locked: tuple[BaseImage, ...]) -> CodeSource:
    """Return where the code is in the gpu lane: in the releases' images."""
    require()
    from matrix.lane.containers.image_builder import ImageSources

    return ImageSources(locked)


def to_build(plan: Plan, locked: tuple[BaseImage, ...]) -> tuple[dict[str, str] | None, bool]:
    """Return which images of a plan still have to be built.

    :returns: the kind of base image by release name, or None if the plan needs no containers;
        and whether an engine answered: without one, all images count as missing.
    """
    if plan.runner != RunnerName.DOCKER:
        return None, False
    wanted: dict[str, str] = {}
    for release in plan.releases.values():
        try:
            wanted[release.name] = lock.base_for(locked, plan.lane, release).kind
        except SourceUnavailable:
            continue
    try:
        client = connect()
    except MatrixError:
        return wanted, False
    from matrix.lane.containers import images
    from matrix.lane.containers.image_spec import KIND, RELEASE

    there = {(i.labels.get(RELEASE), i.labels.get(KIND)) for i in images.built(client)}
    return {name: kind for name, kind in wanted.items() if (name, kind) not in there}, True


def _needed(plan: Plan, locked: tuple[BaseImage, ...]) -> list[BaseImage]:
    """Return the base images that a plan's releases need, each once."""
    found: dict[BaseImage, None] = {}
    for release in plan.releases.values():
        try:
            found[lock.base_for(locked, plan.lane, release)] = None
        except SourceUnavailable:
            continue
    return list(found)
