"""An image under test as a candidate: its version and its Python files."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ContainerError, ImageNotFound

from matrix.catalogue.releases import PACKAGE, Release
from matrix.errors import EngineError, UsageError
from matrix.lane.containers.engine import OWNER, explanation, remove, run_program
from matrix.lane.containers.lock import BaseImage
from matrix.lane.sources import keep_candidate
from matrix.system.cleanup import process_label
from matrix.system.unpacking import unpack

_ASK = (
    "import importlib.metadata as m, importlib.util as u, json; "
    f"print(json.dumps([u.find_spec('{PACKAGE}').submodule_search_locations[0], "
    f"m.version('{PACKAGE}')]))"
)


def from_image(client: docker.DockerClient, name: str) -> tuple[Release, BaseImage]:
    """Describe an image as a candidate, and as the base image of that candidate.

    Its Python files are copied out and cached, so that the cpu lane can run them.

    :raises UsageError: the engine has no such image.
    :raises EngineError: it holds no Transformer Engine.
    """
    try:
        image = str(client.images.get(name).id)
    except ImageNotFound as error:
        raise UsageError(
            f"{name} is no candidate",
            why="there is neither a file nor a folder nor an image of that name",
            do="Pull or load the image into the engine first",
        ) from error
    package, version = _locate(client, name)
    with tempfile.TemporaryDirectory() as folder:
        _copy_out(client, image, package, Path(folder))
        release = keep_candidate(Path(folder), version.partition("+")[0], name)
    base = BaseImage(kind="ngc", image=name, digest=image)
    return release.model_copy(update={"image": name}), base


def _locate(client: docker.DockerClient, name: str) -> tuple[str, str]:
    """Return the folder of the Transformer Engine in an image, and its version."""
    try:
        stdout = run_program(client, name, "python3", ["-c", _ASK])
        package, version = json.loads(stdout.splitlines()[-1])
    except (APIError, ContainerError, ValueError, IndexError) as error:
        raise EngineError(
            f"image {name} holds no Transformer Engine that its python3 finds",
            why=explanation(error),
        ) from error
    return str(package), str(version)


def _copy_out(client: docker.DockerClient, image: str, package: str, folder: Path) -> None:
    """Copy the Python files of a package out of an image, without running it."""
    container: Any = client.containers.create(image, ["true"], labels={OWNER: process_label()})
    try:
        chunks, _stat = container.get_archive(package)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            python = [entry for entry in archive if entry.isdir() or entry.name.endswith(".py")]
            unpack(archive, folder, python)
    finally:
        remove(container)
