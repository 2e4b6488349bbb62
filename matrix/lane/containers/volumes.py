"""Files into containers and out of them.

They are transferred through the API of the engine and not through a shared folder, because the
engine may run on another machine, or the harness in a container.
"""

from __future__ import annotations

import tarfile
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError

from matrix.errors import WorkerError
from matrix.lane.containers.engine import OWNER, explanation, remove, with_retry
from matrix.system.cleanup import process_label

INPUT = "/te-matrix"
OUTPUT = "/te-matrix-output"
CHECKPOINTS = f"{INPUT}/checkpoints"


class InputVolume:
    """A volume that containers read: it holds the worker, and checkpoints when they are needed.

    :param worker: folder of the worker.
    """

    def __init__(self, client: docker.DockerClient, worker: Path) -> None:
        self._client = client
        self._worker = worker
        self._volume: Any = None
        self._there: set[Path] = set()
        self._lock = threading.Lock()

    def mount(self, image: str) -> dict[str, dict[str, str]]:
        """Return the volume with the worker in it, as docker-py mounts it read-only.

        :param image: any existing image; putting files into a volume needs one.
        """
        with self._lock:
            if self._volume is None:
                labels = {OWNER: process_label()}
                self._volume = with_retry(
                    self._client, lambda: self._client.volumes.create(labels=labels)
                )
                self._put(image, _tar("worker", self._worker))
        return {self._volume.name: {"bind": INPUT, "mode": "ro"}}

    def add(self, image: str, path: Path) -> str:
        """Put a checkpoint into the volume, unless it is there, and return its path there."""
        with self._lock:
            if path not in self._there:
                self._put(image, _tar(f"checkpoints/{path.name}", path))
                self._there.add(path)
        return f"{CHECKPOINTS}/{path.name}"

    def _put(self, image: str, tar: IO[bytes]) -> None:
        """Unpack a tar file in the volume, by a container that is never started."""
        with tar:
            with_retry(self._client, lambda: self._put_once(image, tar))

    def _put_once(self, image: str, tar: IO[bytes]) -> None:
        tar.seek(0)
        helper = self._client.containers.create(
            image,
            entrypoint=["true"],
            network_mode="none",
            volumes={self._volume.name: {"bind": INPUT, "mode": "rw"}},
            labels={OWNER: process_label()},
        )
        try:
            helper.put_archive(INPUT, tar)
        finally:
            remove(helper)


def _tar(place: str, path: Path) -> IO[bytes]:
    """Return a tar file of a file or folder whose entries any user can read."""

    def readable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if entry.name.endswith("__pycache__"):
            return None
        entry.mode = 0o755 if entry.isdir() else 0o644
        entry.uid = entry.gid = 0
        return entry

    stream = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(path, place, filter=readable)
    return stream


def collect(container: Any, name: str, path: Path) -> None:
    """Copy a file out of the output folder of a running container.

    That folder is in memory, where only processes of the container can read it.

    :param name: name of the file.
    :param path: where to copy it.
    :raises WorkerError: it cannot be read.
    """
    try:
        status, streams = container.exec_run(["cat", f"{OUTPUT}/{name}"], demux=True)
    except APIError as error:
        raise WorkerError(
            f"{name} could not be brought out of its container", why=explanation(error)
        ) from error
    data, stderr = streams
    if status:
        why = (stderr or b"").decode(errors="replace").strip()
        raise WorkerError(f"{name} could not be brought out of its container", why=why)
    path.write_bytes(data or b"")
