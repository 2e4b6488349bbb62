"""One container: its limits, and the conversation with the worker in it.

Loading a checkpoint executes what it pickles. A container therefore has no network, no
capability, no way to gain a privilege, a root it cannot write, a user that owns nothing,
and limits on memory and processes; it reads the input volume and writes to memory only.
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
"""Number of the user "nobody"; it owns nothing in an image."""

TEMPORARY = "/tmp"
SCRATCH = (TEMPORARY, OUTPUT)
"""Folders that a container is given to write to."""

WRITABLE = (*SCRATCH, "/dev/shm")
"""All that can be written to; the worker empties it before every cell."""

_LOG_LIMIT = 16 << 20
_LAST_OUTPUT = 5  # seconds that a removed container's last output may take


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContainerLimits:
    """What one container may use.

    :param memory: of all its processes and scratch folders, as Docker writes it: "8g".
    :param pids: processes and threads.
    :param scratch: size of each scratch folder.
    """

    memory: str = "8g"
    pids: int = 512
    scratch: str = "1g"


class ConfinedContainer:
    """A container with a worker in it, started and connected.

    :param image: id of its image.
    :param inputs: the input volume, as docker-py mounts it.
    :param gpu: the GPU that it gets, by index or UUID; None for none.
    :param log: where what it prints is added.
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
            # Whoever prints without end fills neither the engine's disk nor ours.
            log_config=docker.types.LogConfig(type="none"),
            device_requests=device_requests(gpu),
        )

    def _connect(self) -> socket.socket:
        """Return our end of a socket on which the worker's standard streams can be spoken to."""
        ours, theirs = socket.socketpair()
        raw = _raw(self._stream)
        writer = threading.Thread(target=_write_input, args=(theirs, raw), daemon=True)
        listen = (raw, theirs, writer)
        self._reader = threading.Thread(target=self._read_output, args=listen, daemon=True)
        writer.start()
        self._reader.start()
        return ours

    def _read_output(self, raw: Any, theirs: socket.socket, writer: threading.Thread) -> None:
        """Pass on what the worker says until it ends; what it prints goes into the log."""
        with theirs:
            with self._log.open("ab") as log, contextlib.suppress(OSError, *GONE):
                for stream, data in _frames(raw):
                    if stream == framing.STDOUT:
                        theirs.sendall(data)
                    else:
                        _print(log, data)
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)
            writer.join()

    def exit_reason(self) -> str:
        """Say how the container ended; an empty string while it runs or nobody knows."""
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
        """Remove the container; where the engine is gone, the next start does."""
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
    """Return the socket below what docker-py returns for attached streams."""
    return getattr(stream, "_sock", stream)


def _frames(raw: Any) -> Iterator[tuple[int, bytes]]:
    """Yield what arrives on a container's attached streams: the stream's number, and data."""
    frames: Iterator[Any] = framing.frames_iter_no_tty(raw)
    return frames


def _write_input(theirs: socket.socket, raw: Any) -> None:
    """Pass on what is said to the worker."""
    with contextlib.suppress(OSError):
        while data := theirs.recv(1 << 16):
            raw.sendall(data)


def _print(log: IO[bytes], data: bytes) -> None:
    room = _LOG_LIMIT - log.tell()
    log.write(data[: max(0, room)])
    log.flush()


def device_requests(gpu: str | None) -> list[Any]:
    """Return the request for one GPU in docker-py's terms; none for None."""
    if gpu is None:
        return []
    return [docker.types.DeviceRequest(device_ids=[gpu], capabilities=[["gpu", "utility"]])]
