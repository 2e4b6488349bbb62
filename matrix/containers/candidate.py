"""An image under test, as one more release: what it calls itself, and its Python files."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ContainerError, ImageNotFound

from matrix.catalogue import PACKAGE, Release
from matrix.containers.engine import OWNER, ask, owner, remove, words
from matrix.containers.lock import Base
from matrix.errors import EngineError, UsageError
from matrix.sources import keep_candidate
from matrix.unpacking import unpack

_ASK = (
    "import importlib.metadata as m, importlib.util as u, json; "
    f"print(json.dumps([u.find_spec('{PACKAGE}').submodule_search_locations[0], "
    f"m.version('{PACKAGE}')]))"
)


def from_image(client: docker.DockerClient, name: str) -> tuple[Release, Base]:
    """Describe an image as a candidate, and as the base that it is.

    Its Python files are taken out of it and cached, so that the cpu lane can run them.

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
    place, version = _look(client, name)
    with tempfile.TemporaryDirectory() as folder:
        _take(client, image, place, Path(folder))
        release = keep_candidate(Path(folder), version.partition("+")[0], name)
    base = Base(kind="ngc", image=name, digest=image)
    return release.model_copy(update={"image": name}), base


def _look(client: docker.DockerClient, name: str) -> tuple[str, str]:
    """Return where an image has its Transformer Engine, and its version."""
    try:
        said = ask(client, name, "python3", ["-c", _ASK])
        place, version = json.loads(said.splitlines()[-1])
    except (APIError, ContainerError, ValueError, IndexError) as error:
        raise EngineError(
            f"image {name} holds no Transformer Engine that its python3 finds", why=words(error)
        ) from error
    return str(place), str(version)


def _take(client: docker.DockerClient, image: str, place: str, folder: Path) -> None:
    """Copy a package out of an image that is not run."""
    still: Any = client.containers.create(image, ["true"], labels={OWNER: owner()})
    try:
        chunks, _stat = still.get_archive(place)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            python = [entry for entry in archive if entry.isdir() or entry.name.endswith(".py")]
            unpack(archive, folder, python)
    finally:
        remove(still)
