"""The cpu lane on this machine: a fork server, and one process per release behind it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from packaging.version import Version

from matrix.catalogue import Release
from matrix.digests import of_files
from matrix.errors import GapError, WorkerError
from matrix.scenarios import Recipe
from matrix.worker import PROTOCOL

WORKER = Path(__file__).resolve().parent / "worker"
START_TIMEOUT = 180
GRACE = 30
"""Seconds beyond a cell's own limit before its release process is given up."""

# Large pages keep the page tables small that every fork copies: measured, a fork of
# the loaded server takes 5 ms with them and 21 ms without. TorchScript compiles
# functions that run once here.
_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "PYTHONMALLOC": "malloc",
    "PYTORCH_JIT": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}
# Of the caller's environment only this reaches the worker.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def worker_environment() -> dict[str, str]:
    """Return the environment of every worker process; no NVTE_* variable gets through."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, **_ENVIRONMENT}


@functools.cache
def worker_digest() -> str:
    """Return the digest of the worker's files."""
    return of_files(WORKER)


def describe(failure: dict[str, Any]) -> str:
    """Return a worker's failure in words: an exception's class, or crash or timeout."""
    return f"{failure.get('type') or failure['kind']}: {failure['message']}"


def refusal(failure: dict[str, Any]) -> type[WorkerError]:
    """Return the kind of error that a worker's failure is: of the lane, or anything else."""
    return GapError if failure.get("gaps") else WorkerError


class ReleaseProcess:
    """The process of one release: knows what it is, answers one request at a time."""

    def __init__(self, release: Release, connection: socket.socket, opened: dict[str, Any]) -> None:
        self.release = release
        self._connection = connection
        self._stream = cast(BinaryIO, connection.makefile("rwb"))
        self._next = 0
        self._scenario: str | None = None
        self._broken: str | None = None
        connection.settimeout(START_TIMEOUT)
        try:
            self.hello = self._receive()
            self._check_hello(opened)
        except WorkerError:
            self.close()
            raise

    def _check_hello(self, opened: dict[str, Any]) -> None:
        if self.hello.get("protocol") != PROTOCOL:
            raise WorkerError(
                f"the worker of {self.release.name} speaks protocol {self.hello.get('protocol')}, "
                f"not {PROTOCOL}"
            )
        if failure := self.hello.get("failure"):
            raise refusal(failure)(
                f"release {self.release.name} cannot be imported: {describe(failure)}",
                do=f"See {opened['log']}",
            )
        if self.hello["release"] != opened["version"]:
            raise WorkerError(
                f"the worker asked to be {opened['version']} says it is {self.hello['release']}"
            )
        if not self.hello["te_file"].startswith(opened["source"]):
            raise WorkerError(
                f"the worker of {self.release.name} imported {self.hello['te_file']}",
                why="another Transformer Engine is installed there and came first",
            )
        if self.hello["opt_in"] != self.release.opt_in:
            raise WorkerError(
                f"release {self.release.name} has the opt-in {self.hello['opt_in']}, "
                f"the catalogue says {self.release.opt_in}"
            )

    def ask(self, operation: str, timeout: float, **fields: Any) -> dict[str, Any]:
        """Send one request and return its reply: ``answer`` or ``failure``, and ``seconds``.

        :param timeout: seconds that the request may take.
        :raises WorkerError: the release process itself is gone.
        """
        if self._broken:
            raise WorkerError(self._broken)
        self._next += 1
        request = dict(fields, op=operation, id=self._next, timeout=timeout)
        self._connection.settimeout(timeout + GRACE)
        try:
            self._stream.write(json.dumps(request).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise self._gone(f"it does not take requests: {error}") from error
        reply = self._receive()
        if reply.get("id") != self._next:
            raise self._gone(f"it answered request {reply.get('id')} instead of {self._next}")
        return reply

    def enter(self, recipe: Recipe, timeout: float) -> None:
        """Have the release build a scenario's model with no checkpoint at all.

        Every load asked for afterwards starts from that model.

        :raises WorkerError: it cannot; then it is no loader.
        """
        if self._scenario == recipe.name:
            return
        if self._scenario is not None:
            self._scenario = None
            self.ask("leave", timeout)
        reply = self.ask("enter", timeout, scenario=recipe.request)
        gaps = reply.get("answer", {}).get("gaps")
        failure = {"type": "EmulationGap", "message": gaps, "gaps": gaps} if gaps else None
        if failure := reply.get("failure", failure):
            raise refusal(failure)(
                f"release {self.release.name} cannot build scenario {recipe.name} "
                f"without any checkpoint: {describe(failure)}"
            )
        self._scenario = recipe.name

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._stream.readline()
            reply = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError) as error:
            raise self._gone(f"it did not answer: {error}") from error
        if not isinstance(reply, dict):
            raise self._gone("it ended" if not line else "it answered half a line")
        return reply

    def _gone(self, why: str) -> WorkerError:
        self._broken = f"the process of release {self.release.name} is lost: {why}"
        return WorkerError(self._broken)

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._stream.close()
        self._connection.close()


class Host:
    """The fork server. Use it as a context manager: leaving it ends every process.

    :param logs: folder for one log per release.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair()
        with theirs, (self._logs / "host.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER), "host", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=worker_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._control = ours
        ours.settimeout(START_TIMEOUT)
        self._await_ready()
        return self

    def _await_ready(self) -> None:
        try:
            ready = self._control.recv(16)
        except TimeoutError:
            ready = b""
        except BaseException:
            self._end()
            raise
        if ready != b"ready\n":
            self._end()
            raise WorkerError(
                "the worker could not be started",
                why="PyTorch or a package of the cpu lane may be missing here",
                do=f"Install te-matrix with its cpu extra and torch; see {self._logs / 'host.log'}",
            )

    def open(self, release: Release, source: Path, lane: str) -> ReleaseProcess:
        """Fork a process for one release and have it import its Transformer Engine.

        :raises WorkerError: it cannot be imported, or is not what was asked for.
        """
        ours, theirs = socket.socketpair()
        opened = {
            "lane": lane,
            "source": str(source),
            "version": Version(release.version).base_version,
            "log": str(self._logs / f"{release.name}.log"),
        }
        with theirs:
            socket.send_fds(self._control, [json.dumps(opened).encode()], [theirs.fileno()])
        return ReleaseProcess(release, ours, opened)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
