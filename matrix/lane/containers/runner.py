"""The docker runner: opens release processes in containers of their releases' images."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import Self

import docker
from docker.errors import DockerException

from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.errors import MatrixError, WorkerError
from matrix.lane.containers import volumes
from matrix.lane.containers.confinement import WRITABLE, ConfinedContainer, ContainerLimits
from matrix.lane.containers.engine import EngineGone, explanation, remove_owned, sweep, with_retry
from matrix.lane.containers.image_builder import ImageBuilder
from matrix.lane.containers.image_spec import SOURCE
from matrix.lane.context import ProcessContext
from matrix.lane.environment import WORKER
from matrix.lane.process import ReleaseProcess, start_message
from matrix.system.cleanup import process_label

FOLDER = "/te"
"""Folder that holds ``transformer_engine`` in an image of the cpu lane."""


class DockerRunner:
    """Opens release processes in containers. Leaving the context removes all of them.

    :param image_builder: provides the images.
    :param gpu: the GPU that containers get, by index or UUID; None for none.
    :param logs: folder for one log per release, to which the workers' output is appended.
    """

    resident = False

    def __init__(
        self,
        client: docker.DockerClient,
        image_builder: ImageBuilder,
        logs: Path,
        limits: ContainerLimits,
        gpu: str | None = None,
    ) -> None:
        self._client = client
        self.image_builder = image_builder
        self._logs = logs
        self._limits = limits
        self._gpu = gpu
        self._number = itertools.count(1)
        self._input = volumes.InputVolume(client, WORKER)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        sweep(self._client)
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(EngineGone):
            own = process_label()
            with_retry(self._client, lambda: remove_owned(self._client, lambda label: label == own))

    def open(self, release: Release, source: Path | None, lane: Lane) -> ReleaseProcess:
        """Start a container for one release, which imports its Transformer Engine.

        :raises WorkerError: there is no container, or the release cannot be imported.
        :raises EngineGone: the engine does not answer any more.
        """
        with contextlib.ExitStack() as held:
            try:
                image = held.enter_context(self.image_builder.image(release, source, lane))
                labels = with_retry(self._client, lambda: self._client.images.get(image).labels)
                container = with_retry(self._client, lambda: self._container(release, image))
            except EngineGone:
                raise
            except (DockerException, MatrixError) as error:
                raise WorkerError(
                    f"there is no container for release {release.name}: {explanation(error)}"
                ) from error
            context = ContainerContext(container, self._input, labels[SOURCE], held.pop_all())
        log = self._logs / f"{release.name}.log"
        start = start_message(release, FOLDER if source else None, lane, log, WRITABLE)
        with contextlib.suppress(OSError):  # it has ended; reading from it says so
            container.connection.sendall(start.model_dump_json().encode() + b"\n")
        return ReleaseProcess(release, container.connection, start, context)

    def _container(self, release: Release, image: str) -> ConfinedContainer:
        inputs = self._input.mount(image)
        version = release.version.replace("+", "-")
        return ConfinedContainer(
            self._client,
            f"te-matrix-{os.getpid()}-{version}-{next(self._number)}",
            image,
            inputs,
            self._limits,
            self._gpu,
            self._logs / f"{release.name}.log",
        )


class ContainerContext(ProcessContext):
    """The context of a release process in a container."""

    def __init__(
        self,
        container: ConfinedContainer,
        inputs: volumes.InputVolume,
        source: str,
        held: contextlib.ExitStack,
    ) -> None:
        self.image = container.image
        self.source = source
        self._container = container
        self._input = inputs
        self._held = held

    def path_to_read(self, path: Path) -> str:
        """Put a file into the input volume and return its path in the container."""
        return self._input.add(self._container.image, path)

    def path_to_write(self, path: Path) -> str:
        """Return a path in the output folder of the container."""
        return f"{volumes.OUTPUT}/{path.name}"

    def collect(self, path: Path) -> None:
        """Copy a file out of the output folder of the container.

        :raises WorkerError: it cannot be read.
        """
        volumes.collect(self._container.container, path.name, path)

    def exit_reason(self) -> str:
        """Return how the container ended."""
        return self._container.exit_reason()

    def close(self) -> None:
        """Remove the container, and release its image."""
        self._container.close()
        self._held.close()
