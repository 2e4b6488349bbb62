"""Files into containers, and what they wrote out of them, wherever the engine runs.

Both go through the engine's API, never through a folder that engine and harness share:
the engine may be on another machine, or the harness itself in a container.
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
    """A volume that containers read: the worker, and the checkpoints as they are asked for.

    :param worker: folder of the worker.
    """

    def __init__(self, client: docker.DockerClient, worker: Path) -> None:
        self._client = client
        self._worker = worker
        self._volume: Any = None
        self._there: set[Path] = set()
        self._lock = threading.Lock()

    def mount(self, image: str) -> dict[str, dict[str, str]]:
        """Return the volume as docker-py mounts it, read-only, the worker in it.

        :param image: any image that is there; putting files into a volume needs one.
        """
        with self._lock:
            if self._volume is None:
                labels = {OWNER: process_label()}
                self._volume = with_retry(
                    self._client, lambda: self._client.volumes.create(labels=labels)
                )
                self._put(image, _tar("worker", self._worker))
        return {self._volume.name: {"bind": INPUT, "mode": "ro"}}

    def bring(self, image: str, path: Path) -> str:
        """Put a checkpoint into the volume, once, and return its place in a container."""
        with self._lock:
            if path not in self._there:
                self._put(image, _tar(f"checkpoints/{path.name}", path))
                self._there.add(path)
        return f"{CHECKPOINTS}/{path.name}"

    def _put(self, image: str, tar: IO[bytes]) -> None:
        """Unpack a tar in the volume, through a container that is never started."""
        with tar:
            with_retry(self._client, lambda: self._put_once(image, tar))

    def _put_once(self, image: str, tar: IO[bytes]) -> None:
        tar.seek(0)
        hand = self._client.containers.create(
            image,
            entrypoint=["true"],
            network_mode="none",
            volumes={self._volume.name: {"bind": INPUT, "mode": "rw"}},
            labels={OWNER: process_label()},
        )
        try:
            hand.put_archive(INPUT, tar)
        finally:
            remove(hand)


def _tar(place: str, path: Path) -> IO[bytes]:
    """Return a tar of a file or folder, readable by any user."""

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
    """Bring one file out of a running container's output.

    It lies in memory, where only a process of the container can read it.

    :param name: of the file.
    :param path: where it shall lie.
    :raises WorkerError: it cannot be read.
    """
    try:
        status, said = container.exec_run(["cat", f"{OUTPUT}/{name}"], demux=True)
    except APIError as error:
        raise WorkerError(
            f"{name} could not be brought out of its container", why=explanation(error)
        ) from error
    data, cry = said
    if status:
        why = (cry or b"").decode(errors="replace").strip()
        raise WorkerError(f"{name} could not be brought out of its container", why=why)
    path.write_bytes(data or b"")
