"""The local runner: a fork server on this machine, and one process per release behind it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.errors import RunnerError
from matrix.lane import protocol
from matrix.lane.binding.folder import BindingFolder
from matrix.lane.environment import WORKER, worker_environment
from matrix.lane.process import ReleaseProcess, start_message


class LocalRunner:
    """Starts a fork server and opens release processes by it. Leaving the context ends them.

    The server takes seconds to start. Opening a process waits for it; entering does not.

    :param logs: folder for one log per release.
    :param bindings: folder of compiled extensions for the cpu lane; None for the stand-in.
    :param gpu: the only visible GPU, by index or UUID; None for those that the caller sees.
    """

    resident = True

    def __init__(
        self, logs: Path, gpu: str | None = None, bindings: BindingFolder | None = None
    ) -> None:
        self._logs = logs
        self._bindings = bindings
        self._gpu = gpu
        self._waiting = threading.Lock()

    def __enter__(self) -> Self:
        self._ready = False
        self._logs.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        with theirs, (self._logs / "host.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER), "forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=worker_environment(self._gpu),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._control = ours
        ours.settimeout(protocol.START_TIMEOUT)
        return self

    def _await_ready(self) -> None:
        """Wait until the server is ready.

        :raises RunnerError: it does not start.
        """
        with self._waiting:
            if not self._ready and self._received() != b"ready\n":
                self._end()
                raise RunnerError(
                    "the worker could not be started",
                    why="PyTorch or a package of the cpu lane may be missing here",
                    do="Install te-matrix with its cpu extra and torch; "
                    f"see {self._logs / 'host.log'}",
                )
            self._ready = True

    def _received(self) -> bytes:
        try:
            return self._control.recv(16)
        except OSError:  # it timed out, or was ended before
            return b""

    def open(self, release: Release, source: Path | None, lane: Lane) -> ReleaseProcess:
        """Fork a process for one release, which imports its Transformer Engine.

        :raises RunnerError: the fork server does not start.
        :raises WorkerError: the release cannot be imported, or is not the one asked for.
        """
        self._await_ready()
        ours, theirs = socket.socketpair()
        log = self._logs / f"{release.name}.log"
        binding = self._bindings.file(release) if self._bindings else None
        start = start_message(release, str(source) if source else None, lane, log, (), binding)
        with theirs:
            socket.send_fds(self._control, [start.model_dump_json().encode()], [theirs.fileno()])
        return ReleaseProcess(release, ours, start)

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
