"""A container with limits, and the connection to the worker in it.

Loading a checkpoint executes code that is pickled in it. A container therefore has no network,
no capabilities, no way to gain privileges, a read-only root, a user that owns nothing, and
limits on memory and processes. It reads the input volume and writes to memory only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError
from docker.utils import socket as framing

from matrix.lane.containers.engine import GONE, OWNER, remove
from matrix.lane.containers.volumes import INPUT, OUTPUT
from matrix.lane.environment import container_environment
from matrix.system.cleanup import process_label

USER = 65534
"""Id of the user "nobody", who owns nothing in an image."""

TEMPORARY = "/tmp"
SCRATCH = (TEMPORARY, OUTPUT)
"""Writable folders that a container is given, in memory."""

WRITABLE = (*SCRATCH, "/dev/shm")
"""All writable folders; the worker empties them before every save and load."""

_LOG_LIMIT = 16 << 20
_LAST_OUTPUT = 5  # seconds that a removed container's last output may take


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContainerLimits:
    """Limits of one container.

    :param memory: limit for all its processes and writable folders, in Docker's notation: "8g".
    :param pids: maximum number of processes and threads.
    :param scratch: size of each writable folder.
    """

    memory: str = "8g"
    pids: int = 512
    scratch: str = "1g"


class ConfinedContainer:
    """A container with a worker in it. It is started and connected when it is made.

    :param name: name of the container.
    :param image: id of its image.
    :param inputs: the input volume, as docker-py mounts it.
    :param gpu: its GPU, by index or UUID; None for none.
    :param log: the file to which its standard error is appended.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        name: str,
        image: str,
        inputs: dict[str, dict[str, str]],
        limits: ContainerLimits,
        gpu: str | None,
        log: Path,
    ) -> None:
        self._client = client
        self._log = log
        self.image = image
        self.container: Any = None
        self._stream: Any = None
        self._reader: threading.Thread | None = None
        try:
            self.container = self._create(name, inputs, limits, gpu)
            self._stream = self.container.attach_socket(
                params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
            self.container.start()
        except BaseException:
            self.close()
            raise
        self.connection = self._connect()

    def _create(
        self, name: str, mounts: dict[str, dict[str, str]], limits: ContainerLimits, gpu: str | None
    ) -> Any:
        return self._client.containers.create(
            self.image,
            name=name,
            entrypoint=["python3"],
            command=[f"{INPUT}/worker", "serve"],
            environment=container_environment(TEMPORARY),
            working_dir="/",
            labels={OWNER: process_label()},
            stdin_open=True,
            volumes=mounts,
            tmpfs=dict.fromkeys(SCRATCH, f"size={limits.scratch},mode=1777,nosuid,nodev"),
            read_only=True,
            network_mode="none",
            user=f"{USER}:{USER}",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=limits.memory,
            memswap_limit=limits.memory,
            pids_limit=limits.pids,
            # Endless output must not fill the disk of the engine; ours has _LOG_LIMIT.
            log_config=docker.types.LogConfig(type="none"),
            device_requests=device_requests(gpu),
        )

    def _connect(self) -> socket.socket:
        """Return a socket that is connected to the standard streams of the worker."""
        ours, theirs = socket.socketpair()
        raw = _raw(self._stream)
        writer = threading.Thread(target=_write_input, args=(theirs, raw), daemon=True)
        listen = (raw, theirs, writer)
        self._reader = threading.Thread(target=self._read_output, args=listen, daemon=True)
        writer.start()
        self._reader.start()
        return ours

    def _read_output(self, raw: Any, theirs: socket.socket, writer: threading.Thread) -> None:
        """Pass on standard output until it ends; append standard error to the log."""
        with theirs:
            with self._log.open("ab") as log, contextlib.suppress(OSError, *GONE):
                for stream, data in _frames(raw):
                    if stream == framing.STDOUT:
                        theirs.sendall(data)
                    else:
                        _append(log, data)
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
            writer.join()

    def exit_reason(self) -> str:
        """Return how the container ended; an empty string while it runs."""
        try:
            self.container.reload()
        except (APIError, *GONE):
            return "its container is gone"
        state = self.container.attrs["State"]
        if state["Running"]:
            return ""
        if state.get("OOMKilled"):
            return "its container ran out of memory"
        return f"its container ended with exit status {state['ExitCode']}"

    def close(self) -> None:
        """Remove the container; if the engine does not answer, the next run removes it."""
        if self.container is not None:
            with contextlib.suppress(*GONE):
                remove(self.container)
        if self._reader is not None:
            self._reader.join(_LAST_OUTPUT)
        if self._stream is not None:
            raw = _raw(self._stream)
            self._stream.close()
            raw.close()


def _raw(stream: Any) -> Any:
    """Return the socket inside of what docker-py returns for attached streams."""
    return getattr(stream, "_sock", stream)


def _frames(raw: Any) -> Iterator[tuple[int, bytes]]:
    """Yield the number of a stream and data, as they arrive from the container."""
    frames: Iterator[Any] = framing.frames_iter_no_tty(raw)
    return frames


def _write_input(theirs: socket.socket, raw: Any) -> None:
    """Pass on requests to the standard input of the worker."""
    with contextlib.suppress(OSError):
        while data := theirs.recv(1 << 16):
            raw.sendall(data)


def _append(log: IO[bytes], data: bytes) -> None:
    room = _LOG_LIMIT - log.tell()
    log.write(data[: max(0, room)])
    log.flush()


def device_requests(gpu: str | None) -> list[Any]:
    """Return docker-py's request for one GPU; an empty list for no GPU."""
    if gpu is None:
        return []
    return [docker.types.DeviceRequest(device_ids=[gpu], capabilities=[["gpu", "utility"]])]
