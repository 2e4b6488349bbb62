"""Builds, lists and removes images, and keeps a limited number of them."""

from __future__ import annotations

import contextlib
import tarfile
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import docker
from docker.errors import APIError, ImageNotFound

from matrix.errors import EngineError
from matrix.lane.containers.engine import explanation, with_retry
from matrix.lane.containers.image_spec import KIND, RELEASE, ImageSpec

LineCallback = Callable[[str], None]
_LEFT_OUT = {".git", "__pycache__"}


class BuildError(EngineError):
    """An image could not be built."""


def find(client: docker.DockerClient, spec: ImageSpec) -> str | None:
    """Return the id of the described image, or None if it does not exist."""
    try:
        return str(client.images.get(spec.tag).id)
    except ImageNotFound:
        return None


def build(client: docker.DockerClient, spec: ImageSpec, say: LineCallback) -> str:
    """Build an image and return its id.

    :param say: called with every line of the output.
    :raises BuildError: the build failed.
    """
    with tempfile.TemporaryFile() as context:
        _write_context(spec, context)
        context.seek(0)
        try:
            for event in client.api.build(
                fileobj=context,
                custom_context=True,
                tag=spec.tag,
                buildargs={"BASE": spec.base, **spec.arguments},
                labels=dict(spec.labels),
                network_mode=None if spec.network else "none",
                use_config_proxy=spec.network,
                rm=True,
                forcerm=True,
                decode=True,
            ):
                _note(event, spec, say)
        except APIError as error:
            raise BuildError(f"{spec.tag} could not be built", why=explanation(error)) from error
    image = find(client, spec)
    if image is None:
        raise BuildError(f"the engine built {spec.tag} and does not have it")
    return image


def _note(event: dict[str, Any], spec: ImageSpec, say: LineCallback) -> None:
    if "error" in event:
        raise BuildError(f"{spec.tag} could not be built", why=str(event["error"]).strip())
    for line in str(event.get("stream", "")).splitlines():
        if line.strip():
            say(line.rstrip())


def _write_context(spec: ImageSpec, stream: BinaryIO) -> None:
    """Write the build context as a tar file; equal files give equal bytes."""
    with tarfile.open(fileobj=stream, mode="w") as archive, tempfile.TemporaryDirectory() as empty:
        dockerfile = Path(empty) / "Dockerfile"
        dockerfile.write_text(spec.dockerfile)
        archive.add(dockerfile, "Dockerfile", filter=_plain)
        dockerfile.unlink()
        for place, path in spec.context.items():
            archive.add(path or empty, place, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what does not matter: owners, times, bytecode, history of git."""
    if Path(entry.name).name in _LEFT_OUT:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return entry


def built(client: docker.DockerClient) -> list[Any]:
    """Return all images that this harness has built, oldest first."""
    found = client.images.list(filters={"label": KIND}, all=False)
    return sorted(found, key=lambda image: str(image.attrs["Created"]))


def prune(client: docker.DockerClient) -> list[str]:
    """Remove all images and stopped build containers of this harness, and nothing else.

    :returns: the names of the removed images.
    :raises EngineError: an image is in use.
    """
    for container in client.containers.list(
        all=True, filters={"label": KIND, "status": "exited"}, ignore_removed=True
    ):
        container.remove()
    removed = []
    # Newest first: an image can only be removed before the one that it is built on.
    for image in reversed(built(client)):
        name = image.tags[0] if image.tags else image.short_id
        drop(client, image.tags or [image.id])
        removed.append(name)
    return removed


def drop(client: docker.DockerClient, names: list[str]) -> None:
    """Remove an image.

    :param names: all its names.
    :raises EngineError: it is in use.
    """
    for name in names:
        try:
            client.images.remove(name)
        except ImageNotFound:
            continue
        except APIError as error:
            raise EngineError(
                f"image {name} could not be removed",
                why=explanation(error),
                do="End the run that uses it, or remove the container named there",
            ) from error


class ImageCache:
    """Keeps a limited number of releases' images on the engine. Safe to share by threads.

    :param most: the maximum number; None for no limit.
    """

    def __init__(self, client: docker.DockerClient, most: int | None) -> None:
        self._client = client
        self._most = most
        self._changed = threading.Condition()
        self._used: Counter[str] = Counter()
        # One at a time: a removal could take away a layer that a build has just found.
        self._changing_images = threading.Lock()

    @contextlib.contextmanager
    def hold(self, spec: ImageSpec, make: Callable[[], str]) -> Iterator[str]:
        """Keep an image on the engine during the context; yield its id.

        :param make: builds the image and returns its id; called if it does not exist.
        """
        self._take(spec.tag)
        try:
            with self._changing_images:
                self._make_room(spec.tag)
                image = with_retry(self._client, lambda: find(self._client, spec)) or make()
            yield image
        finally:
            self._give_back(spec.tag)

    def _take(self, tag: str) -> None:
        """Wait until one more image may be in use."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._most is None or tag in self._used or len(self._used) < self._most
            )
            self._used[tag] += 1

    def _give_back(self, tag: str) -> None:
        with self._changed:
            self._used[tag] -= 1
            if not self._used[tag]:
                del self._used[tag]
            self._changed.notify_all()

    def _make_room(self, tag: str) -> None:
        """Remove the oldest images that are not in use, until there is room for one more."""
        if self._most is None:
            return
        with self._changed:
            used = {tag, *self._used}
        there = with_retry(self._client, lambda: built(self._client))
        idle = [image for image in there if RELEASE in image.labels and not used & {*image.tags}]
        for image in idle[: max(0, len(idle) + len(used) - self._most)]:
            drop(self._client, image.tags or [image.id])
