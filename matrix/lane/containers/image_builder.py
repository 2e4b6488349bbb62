"""From a release to its image: base image, packages, description, build."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.lane.containers import image_spec, images, lock, packages, registry
from matrix.lane.containers.engine import with_retry
from matrix.lane.containers.image_spec import ImageSpec
from matrix.lane.containers.lock import BaseImage
from matrix.lane.sources import cache_folder
from matrix.system.progress import Progress


class ImageBuilder:
    """Builds the images of releases that do not exist yet.

    :param bases: the rows of the lock.
    :param documentation: names the band of a release, for a label.
    :param logs: folder for one log per release, to which the output of builds is appended.
    :param most: maximum number of releases' images at a time; None for no limit.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        bases: tuple[BaseImage, ...],
        documentation: Documentation,
        logs: Path,
        progress: Progress,
        most: int | None = None,
    ) -> None:
        self._client = client
        self._bases = bases
        self._documentation = documentation
        self._logs = logs
        self._progress = progress
        self._cache = images.ImageCache(client, most)
        self._first = threading.Lock()

    @contextlib.contextmanager
    def image(self, release: Release, source: Path | None, lane: Lane) -> Iterator[str]:
        """Keep the image of a release on the engine during the context; yield its id.

        :param source: cpu lane: the folder that holds the release's ``transformer_engine``.
        :raises SourceUnavailable: there is no base image for the release.
        :raises EngineError: the base image cannot be pulled, or the image cannot be built.
        """
        base = lock.base_for(self._bases, lane, release)
        with self._first:
            base_id = with_retry(self._client, lambda: registry.fetch(self._client, base))
            shared = self._packages(base, base_id) if base.kind == "cpu" else None
        band = self._documentation.band(release).name
        spec = image_spec.of_release(base, base_id, release, band, source, shared)
        with self._cache.hold(spec, lambda: self._build(spec, release.name)) as image:
            yield image

    def _packages(self, base: BaseImage, base_id: str) -> str:
        """Return the id of the image with the cpu lane's packages; build it if it is missing."""
        wanted = packages.requirements()
        spec = image_spec.cpu_packages(base, base_id, wanted)
        if found := images.find(self._client, spec):
            return found
        self._progress.say(f"gathering the cpu lane's packages: {', '.join(wanted)}")
        with packages.wheel_folder(cache_folder()) as folder:
            packages.download(folder, wanted, packages.wheel_target(self._client, base_id))
            filled = dataclasses.replace(spec, context={"wheels": folder})
            return self._build(filled, "cpu-packages")

    def _build(self, spec: ImageSpec, name: str) -> str:
        """Build an image, report its steps, and append all output to the log."""
        began = time.monotonic()
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{name}.log").open("a") as log:
            say = self._line_callback(name, log.write)
            image = with_retry(self._client, lambda: images.build(self._client, spec, say))
        took = time.monotonic() - began
        self._progress.say(f"{name}: built {spec.tag} in {took:.0f} s")
        return image

    def _line_callback(self, name: str, write: Callable[[str], object]) -> Callable[[str], None]:
        def say(line: str) -> None:
            write(line + "\n")
            if line.startswith(("Step ", "STEP ")) and " LABEL " not in line:
                self._progress.say(f"{name}: {line}")

        return say


class ImageSources:
    """The code source of the gpu lane: releases are installed in their images.

    :param bases: the rows of the lock.
    """

    def __init__(self, bases: tuple[BaseImage, ...]) -> None:
        self._bases = bases

    def get(self, release: Release) -> None:
        """Check that there is a base image for the release.

        :raises SourceUnavailable: there is none.
        """
        lock.base_for(self._bases, Lane.GPU, release)
