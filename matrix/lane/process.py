"""The process of one release, wherever it runs: what it is asked, and what it may answer."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path
from typing import Any, Protocol, Self

from packaging.version import InvalidVersion, Version

from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import SizedScenario
from matrix.errors import GapError, LostError, WorkerError
from matrix.lane import protocol
from matrix.lane.wire import Wire, WireError
from matrix.system import shipped
from matrix.system.digests import of_files
from matrix.worker import PROTOCOL

WORKER = shipped.PACKAGE / "worker"
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
    # Asking whether there is a GPU must not start CUDA in a process that forks.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
# Of the caller's environment only this reaches the worker: the last line for the gpu lane,
# whose Transformer Engine looks for its libraries there.
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_INHERITED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *(_VISIBLE, "CUDA_HOME", "CUDA_PATH", "CUDNN_PATH", "CUDNN_HOME", "NVRTC_HOME"),
)


def worker_environment(gpu: str | None = None) -> dict[str, str]:
    """Return the environment of every worker process; no NVTE_* variable gets through.

    :param gpu: the only GPU to be seen, by index or UUID; None for what the caller sees.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    chosen = {} if gpu is None else {_VISIBLE: gpu}
    return {**inherited, **chosen, **_ENVIRONMENT}


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


def _same_base(one: str, other: str) -> bool:
    """Tell whether two versions differ in no more than post-release and build marks."""
    try:
        return Version(Version(one).base_version) == Version(Version(other).base_version)
    except InvalidVersion:
        return False


class Place:
    """Where a release process runs, and how files get to it and back. This one: right here."""

    image: str | None = None
    """Id of the container image, where there is one."""

    source: str | None = None
    """What that image says its Transformer Engine is, where there is one."""

    def reading(self, path: Path) -> str:
        """Return how the process sees a file that it shall read."""
        return str(path)

    def writing(self, path: Path) -> str:
        """Return where the process shall write what :meth:`collect` brings to ``path``."""
        return str(path)

    def collect(self, path: Path) -> None:
        """Bring what the process wrote to ``path``.

        :raises WorkerError: it cannot be had.
        """

    def epitaph(self) -> str:
        """Say how the process ended, where the place knows; else an empty string."""
        return ""

    def close(self) -> None:
        """Give the place up, and whatever still runs there."""


class Runner(Protocol):
    """A runner: opens release processes. A context manager that ends them when left."""

    resident: bool
    """Whether processes are kept between saving and loading."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def open(self, release: Release, source: Path | None, lane: str) -> ReleaseProcess:
        """Start a process for one release and have it import its Transformer Engine.

        :param source: folder that holds the release's ``transformer_engine``; None where
            the lane runs the one that is installed.
        :raises WorkerError: it cannot be imported, or is not what was asked for.
        """


def opening(
    release: Release, source: str | None, lane: str, log: Path, **more: Any
) -> dict[str, Any]:
    """Return the first message to a release process: what it is to be.

    :param source: where the process sees the folder that holds ``transformer_engine``;
        None for the one that is installed there.
    :param log: where the harness keeps what the process prints.
    """
    return {
        "lane": lane,
        "source": source,
        "version": Version(release.version).base_version,
        "timeout": START_TIMEOUT,
        "log": str(log),
        **more,
    }


class ReleaseProcess:
    """The process of one release: knows what it is, answers one request at a time.

    :param connection: the harness's end of the conversation, JSON Lines both ways.
    :param opened: the message that it has been started with.
    """

    def __init__(
        self,
        release: Release,
        connection: socket.socket,
        opened: dict[str, Any],
        place: Place | None = None,
    ) -> None:
        self.release = release
        self.place = place or Place()
        self._wire = Wire(connection)
        self._next = 0
        self._scenario: str | None = None
        self._broken: str | None = None
        self._lane = opened["lane"]
        try:
            self.hello = self._receive(START_TIMEOUT)
            self._check_hello(opened)
        except WorkerError:
            self.close()
            raise

    def _check_hello(self, opened: dict[str, Any]) -> None:
        try:
            self._compare_hello(opened)
        except (KeyError, TypeError, AttributeError) as error:
            raise WorkerError(
                f"the worker of {self.release.name} does not say what it is: {error!r}"
            ) from error

    def _compare_hello(self, opened: dict[str, Any]) -> None:
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
        self._check_origin(opened["source"])
        if self.hello["opt_in"] != self.release.opt_in:
            raise WorkerError(
                f"release {self.release.name} has the opt-in {self.hello['opt_in']}, "
                f"the catalogue says {self.release.opt_in}"
            )

    def _check_origin(self, source: str | None) -> None:
        """See that what was imported is the source given, or of the release's version."""
        if source is not None:
            if not self.hello["te_file"].startswith(source):
                raise WorkerError(
                    f"the worker of {self.release.name} imported {self.hello['te_file']}",
                    why="another Transformer Engine is installed there and came first",
                )
        elif not _same_base(self.hello["te_version"], self.release.version):
            raise WorkerError(
                f"what should be release {self.release.name} says it is "
                f"{self.hello['te_version'] or 'of no version'}",
                why="the image carries another release than the catalogue says",
                do="Correct its row in releases.toml, or give the image as a --candidate",
            )

    def save(
        self, sized: SizedScenario, path: Path, timeout: float, output: Path | None = None
    ) -> dict[str, Any]:
        """Have the release save a checkpoint to ``path`` and return its reply.

        :param output: in the gpu lane, where the module's output shall be written.
        :raises WorkerError: the release process, or what it wrote, is lost.
        """
        files = {"path": path, "output": output} if output else {"path": path}
        places = {name: self.place.writing(file) for name, file in files.items()}
        reply = self.ask("save", timeout, scenario=sized.request, lane=self._lane, **places)
        if "answer" in reply:
            for file in files.values():
                self.place.collect(file)
        return reply

    def load(
        self,
        sized: SizedScenario,
        path: Path,
        timeout: float,
        rewrite: str | None,
        opt_in: str | None,
        loads: int = 1,
        output: Path | None = None,
    ) -> dict[str, Any]:
        """Have the release load the checkpoint at ``path``, after :meth:`enter`.

        :param rewrite: name of what is done to the state dict first.
        :param opt_in: environment variable to set.
        :param loads: how often it is loaded; the last is answered for.
        :param output: in the gpu lane, the saving module's output.
        :raises WorkerError: the release process is lost.
        """
        return self.ask(
            "load",
            timeout,
            scenario=sized.request,
            lane=self._lane,
            path=self.place.reading(path),
            rewrite=rewrite,
            opt_in=opt_in,
            loads=loads,
            expected=self.place.reading(output) if output else None,
        )

    def ask(self, operation: str, timeout: float, **fields: Any) -> dict[str, Any]:
        """Send one request and return its reply: ``answer`` or ``failure``, and ``seconds``.

        :param timeout: seconds that the request may take.
        :raises WorkerError: the release process itself is gone.
        """
        if self._broken:
            raise LostError(self._broken)
        self._next += 1
        request = dict(fields, op=operation, id=self._next, timeout=timeout)
        try:
            self._wire.send(request, timeout + GRACE)
        except WireError as error:
            raise self._gone(str(error)) from error
        reply = self._receive(timeout + GRACE)
        if reply.get("id") != self._next:
            raise self._gone(f"it answered request {reply.get('id')} instead of {self._next}")
        if not protocol.well_formed(reply):
            raise self._gone("it answered neither with an answer nor with a failure")
        return reply

    def enter(self, sized: SizedScenario, timeout: float) -> None:
        """Have the release build a scenario's model with no checkpoint at all.

        Every load asked for afterwards starts from that model.

        :raises WorkerError: it cannot; then it is no loader.
        """
        if self._scenario == sized.name:
            return
        if self._scenario is not None:
            self._scenario = None
            self.ask("leave", timeout)
        reply = self.ask("enter", timeout, scenario=sized.request)
        gaps = reply.get("answer", {}).get("gaps")
        failure = {"type": "EmulationGap", "message": gaps, "gaps": gaps} if gaps else None
        if failure := reply.get("failure", failure):
            raise refusal(failure)(
                f"release {self.release.name} cannot build scenario {sized.name} "
                f"without any checkpoint: {describe(failure)}"
            )
        self._scenario = sized.name

    def _receive(self, timeout: float) -> dict[str, Any]:
        """Return the next message; the last one of a process says how it ended."""
        try:
            message = self._wire.receive(timeout)
        except WireError as error:
            raise self._gone(str(error)) from error
        if "ended" in message:
            raise self._gone(f"it ended: {message['ended']}")
        return message

    def _gone(self, why: str) -> LostError:
        how = self.place.epitaph()
        self._broken = f"the process of release {self.release.name} is lost: {why}" + (
            f" ({how})" if how else ""
        )
        return LostError(self._broken)

    def close(self) -> None:
        """End the process."""
        self._wire.close()
        self.place.close()
