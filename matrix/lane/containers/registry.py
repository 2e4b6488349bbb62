"""Base images and their digests, from their registries."""

from __future__ import annotations

import docker
from docker.errors import APIError, DockerException, ImageNotFound

from matrix.errors import EngineError
from matrix.lane.containers.engine import GONE, explanation
from matrix.lane.containers.lock import BaseImage


def fetch(client: docker.DockerClient, base: BaseImage) -> str:
    """Return the id of a base image; pull it if the engine does not have it.

    :raises EngineError: it cannot be pulled.
    """
    for name in filter(None, (base.digest if base.pinned else None, base.reference)):
        try:
            return str(client.images.get(name).id)
        except ImageNotFound:
            continue
    try:
        return str(client.images.pull(base.reference).id)
    except (APIError, DockerException) as error:
        raise EngineError(
            f"the base image {base.reference} is not here and cannot be pulled",
            why=explanation(error),
            do="Make its registry reachable, load the image into the engine, "
            "or name another base (--base, or a lock of your own with --images-lock)",
        ) from error


def read(client: docker.DockerClient, base: BaseImage) -> BaseImage:
    """Return the row of a base image with the digest that its registry has now.

    :raises EngineError: the registry could not be read.
    """
    try:
        digest = client.images.get_registry_data(base.image).id
    except (APIError, DockerException, *GONE) as error:
        raise EngineError(f"{base.image} could not be read", why=explanation(error)) from error
    return base.model_copy(update={"digest": digest})
