"""The docker runner: a release process is a worker in a container of its release's image."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path
from typing import Self

import docker
from docker.errors import DockerException

from matrix.catalogue.releases import Release
from matrix.errors import MatrixError, WorkerError
from matrix.lane.containers import volumes
from matrix.lane.containers.blueprint import SOURCE
from matrix.lane.containers.cage import WRITABLE, Cage, Limits
from matrix.lane.containers.engine import EngineGone, clear, owner, patiently, sweep, words
from matrix.lane.containers.workshop import Workshop
from matrix.lane.process import WORKER, Place, ReleaseProcess, opening

FOLDER = "/te"
"""Folder that holds ``transformer_engine`` in an image of the cpu lane."""


class DockerRunner:
    """Opens release processes in containers. Leaving it removes all that it made.

    :param gpu: the GPU that containers get, by index or UUID; None for none.
    :param logs: folder for one log per release; what a worker prints is added to it.
    """

    resident = False

    def __init__(
        self,
        client: docker.DockerClient,
        workshop: Workshop,
        logs: Path,
        limits: Limits,
        gpu: str | None = None,
    ) -> None:
        self._client = client
        self.workshop = workshop
        self._logs = logs
        self._limits = limits
        self._gpu = gpu
        self._number = itertools.count(1)
        self._input = volumes.Input(client, WORKER)

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        sweep(self._client)
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(EngineGone):
            patiently(self._client, lambda: clear(self._client, lambda label: label == owner()))

    def open(self, release: Release, source: Path | None, lane: str) -> ReleaseProcess:
        """Start a container for one release and have it import its Transformer Engine."""
        with contextlib.ExitStack() as held:
            try:
                image = held.enter_context(self.workshop.image(release, source, lane))
                told = patiently(self._client, lambda: self._client.images.get(image).labels)
                cage = patiently(self._client, lambda: self._cage(release, image))
            except EngineGone:
                raise
            except (DockerException, MatrixError) as error:
                raise WorkerError(
                    f"there is no container for release {release.name}: {words(error)}"
                ) from error
            place = _Container(cage, self._input, told[SOURCE], held.pop_all())
        log = self._logs / f"{release.name}.log"
        inside = FOLDER if source else None
        opened = opening(release, inside, lane, log, scratch=list(WRITABLE))
        with contextlib.suppress(OSError):  # it ended at once; its silence will tell
            cage.connection.sendall(json.dumps(opened).encode() + b"\n")
        return ReleaseProcess(release, cage.connection, opened, place)

    def _cage(self, release: Release, image: str) -> Cage:
        inputs = self._input.mount(image)
        version = release.version.replace("+", "-")
        return Cage(
            self._client,
            f"te-matrix-{owner().split('/')[1]}-{version}-{next(self._number)}",
            image,
            inputs,
            self._limits,
            self._gpu,
            self._logs / f"{release.name}.log",
        )


class _Container(Place):
    """A container, as the place where a release process runs."""

    def __init__(
        self, cage: Cage, inputs: volumes.Input, source: str, held: contextlib.ExitStack
    ) -> None:
        self.image = cage.image
        self.source = source
        self._cage = cage
        self._input = inputs
        self._held = held

    def reading(self, path: Path) -> str:
        return self._input.bring(self._cage.image, path)

    def writing(self, path: Path) -> str:
        return f"{volumes.OUTPUT}/{path.name}"

    def collect(self, path: Path) -> None:
        volumes.collect(self._cage.container, path.name, path)

    def epitaph(self) -> str:
        return self._cage.epitaph()

    def close(self) -> None:
        self._cage.close()
        self._held.close()
