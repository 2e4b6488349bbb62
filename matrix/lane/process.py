"""The process of one release: sends requests to its worker and checks the answers."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version
from pydantic import ValidationError

from matrix.catalogue import features
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import SizedScenario
from matrix.catalogue.words import Lane
from matrix.errors import AnswerError, LostError, WorkerError
from matrix.lane import protocol
from matrix.lane.context import ProcessContext
from matrix.lane.protocol import (
    AnyAnswer,
    Hello,
    LoadAnswer,
    Reply,
    SaveAnswer,
    StartMessage,
    WorkerFailure,
)
from matrix.lane.wire import Wire, WireError
from matrix.worker import PROTOCOL

GRACE = 30
"""Seconds beyond the limit of a request after which the process counts as lost."""


def start_message(
    release: Release,
    source: str | None,
    lane: Lane,
    log: Path,
    scratch: tuple[str, ...] = (),
    binding: Path | None = None,
) -> StartMessage:
    """Return the first message to the process of a release.

    :param source: the folder that holds ``transformer_engine``, as the process sees it; None
        for the installed one.
    :param log: the file for what the process prints.
    :param scratch: folders of a container that are emptied before every save and load.
    :param binding: the release's own compiled extension; None for the stand-in.
    """
    return StartMessage(
        lane=lane,
        source=source,
        version=Version(release.version).base_version,
        log=str(log),
        scratch=scratch,
        binding=str(binding) if binding else None,
    )


def _same_base(one: str, other: str) -> bool:
    """Tell whether two versions are equal except for post-release and build marks."""
    try:
        return Version(Version(one).base_version) == Version(Version(other).base_version)
    except InvalidVersion:
        return False


class ReleaseProcess:
    """The process of one release. It answers one request at a time.

    :param connection: socket to the worker.
    :param start: the message that the worker was started with.
    :param context: where the process runs; None for this machine.
    :raises WorkerError: it does not start, or has not imported the right release.
    """

    def __init__(
        self,
        release: Release,
        connection: socket.socket,
        start: StartMessage,
        context: ProcessContext | None = None,
    ) -> None:
        self.release = release
        self.context = context or ProcessContext()
        self._wire = Wire(connection)
        self._number = 0
        self._scenario: str | None = None
        self._lost: str | None = None
        self._lane = start.lane
        try:
            self.hello = self._read_hello(self._receive(protocol.START_TIMEOUT), start)
            self._check_hello(start)
        except WorkerError:
            self.close()
            raise

    def _read_hello(self, message: dict[str, Any], start: StartMessage) -> Hello:
        name = self.release.name
        if message.get("protocol") != PROTOCOL:
            raise WorkerError(
                f"the worker of {name} speaks protocol {message.get('protocol')}, not {PROTOCOL}"
            )
        try:
            if "failure" not in message:
                return Hello.model_validate(message)
            failure = WorkerFailure.model_validate(message["failure"])
        except ValidationError as error:
            raise WorkerError(
                f"the worker of {name} does not say what it is: {protocol.errors_of(error)}"
            ) from error
        raise failure.error(f"release {name} cannot be imported: {failure}", do=f"See {start.log}")

    def _check_hello(self, start: StartMessage) -> None:
        if self.hello.release != start.version:
            raise WorkerError(
                f"the worker asked to be {start.version} says it is {self.hello.release}"
            )
        self._check_origin(start.source)
        if self.hello.binding != start.binding:
            raise WorkerError(
                f"the worker of {self.release.name} runs on {self.hello.binding or 'the stand-in'}"
                f" instead of {start.binding or 'the stand-in'}"
            )
        if self.hello.opt_in != self.release.opt_in:
            raise WorkerError(
                f"release {self.release.name} has the opt-in {self.hello.opt_in}, "
                f"the catalogue says {self.release.opt_in}"
            )

        self._check_features()

    def _check_features(self) -> None:
        """Check that a release has what the catalogue says; a candidate may have anything."""
        release, hello = self.release, self.hello
        if release.candidate:
            return
        found = features.load().differences(release, hello.modules, hello.recipes)
        if found:
            raise WorkerError(
                f"release {release.name} is not what features.toml says: {'; '.join(found)}",
                do="Correct its rows",
            )

    def _check_origin(self, source: str | None) -> None:
        """Check that the given source was imported, or without one, the release's version."""
        if source is not None:
            if not self.hello.te_file.startswith(source):
                raise WorkerError(
                    f"the worker of {self.release.name} imported {self.hello.te_file}",
                    why="another Transformer Engine is installed there and came first",
                )
        elif not _same_base(self.hello.te_version, self.release.version):
            raise WorkerError(
                f"what should be release {self.release.name} says it is "
                f"{self.hello.te_version or 'of no version'}",
                why="the image carries another release than the catalogue says",
                do="Correct its row in releases.toml, or give the image as a --candidate",
            )

    def save(
        self, sized: SizedScenario, path: Path, timeout: float, output: Path | None = None
    ) -> SaveAnswer | WorkerFailure:
        """Have the release save a checkpoint to ``path``.

        :param timeout: limit in seconds.
        :param output: gpu lane: the file for the module's output.
        :returns: the answer, or why there is none.
        :raises WorkerError: the process, or the file that it wrote, is lost.
        :raises AnswerError: the answer is malformed.
        """
        files = {"path": path, "output": output} if output else {"path": path}
        places = {name: self.context.path_to_write(file) for name, file in files.items()}
        reply = self.ask("save", timeout, scenario=sized.request, lane=self._lane, **places)
        answer = self._answer(SaveAnswer, reply)
        if isinstance(answer, SaveAnswer) and answer.error is None:
            for file in files.values():
                self.context.collect(file)
        return answer

    def load(
        self,
        sized: SizedScenario,
        path: Path,
        timeout: float,
        rewrite: str | None,
        opt_in: str | None,
        loads: int = 1,
        output: Path | None = None,
    ) -> LoadAnswer | WorkerFailure:
        """Have the release load the checkpoint at ``path``; :meth:`enter` comes first.

        :param timeout: limit in seconds.
        :param rewrite: name of the change that is made to the state dict before.
        :param opt_in: environment variable to set.
        :param loads: number of loads; the answer is about the last one.
        :param output: gpu lane: the file with the saving module's output.
        :returns: the answer, or why there is none.
        :raises WorkerError: the process is lost.
        :raises AnswerError: the answer is malformed.
        """
        reply = self.ask(
            "load",
            timeout,
            scenario=sized.request,
            lane=self._lane,
            path=self.context.path_to_read(path),
            rewrite=rewrite,
            opt_in=opt_in,
            loads=loads,
            steps=sized.is_stepped_by(self.release),
            expected=self.context.path_to_read(output) if output else None,
        )
        return self._answer(LoadAnswer, reply)

    def _answer(self, kind: type[AnyAnswer], reply: Reply) -> AnyAnswer | WorkerFailure:
        try:
            return protocol.read_answer(kind, reply)
        except ValidationError as error:
            raise AnswerError(
                f"the worker of {self.release.name} answered what is no answer: "
                f"{protocol.errors_of(error)}"
            ) from error

    def ask(self, operation: str, timeout: float, **fields: Any) -> Reply:
        """Send one request and return its reply.

        :param timeout: limit in seconds.
        :raises LostError: the process has ended or does not answer.
        """
        if self._lost:
            raise LostError(self._lost)
        self._number += 1
        request = dict(fields, op=operation, id=self._number, timeout=timeout)
        try:
            self._wire.send(request, timeout + GRACE)
        except WireError as error:
            raise self._lose(str(error)) from error
        message = self._receive(timeout + GRACE)
        if message.get("id") != self._number:
            raise self._lose(f"it answered request {message.get('id')} instead of {self._number}")
        try:
            return Reply.model_validate(message)
        except ValidationError as error:
            why = protocol.errors_of(error)
            raise self._lose(
                f"it answered neither with an answer nor with a failure: {why}"
            ) from error

    def enter(self, sized: SizedScenario, timeout: float) -> None:
        """Have the release build a scenario's model without any checkpoint.

        Every later load starts from that model.

        :raises WorkerError: the release cannot build it.
        """
        if self._scenario == sized.name:
            return
        if self._scenario is not None:
            self._scenario = None
            self.ask("leave", timeout)
        steps = sized.is_stepped_by(self.release)
        reply = self.ask("enter", timeout, scenario=sized.request, lane=self._lane, steps=steps)
        failure = reply.failure
        if gaps := reply.gaps:
            failure = WorkerFailure(type="EmulationGap", message=str(gaps), gaps=tuple(gaps))
        if failure is not None:
            raise failure.error(
                f"release {self.release.name} cannot build scenario {sized.name} "
                f"without any checkpoint: {failure}"
            )
        self._scenario = sized.name

    def _receive(self, timeout: float) -> dict[str, Any]:
        """Return the next message. The last message of a process says how it ended."""
        try:
            message = self._wire.receive(timeout)
        except WireError as error:
            raise self._lose(str(error)) from error
        if "ended" in message:
            raise self._lose(f"it ended: {message['ended']}")
        return message

    def _lose(self, why: str) -> LostError:
        how = self.context.exit_reason()
        self._lost = f"the process of release {self.release.name} is lost: {why}" + (
            f" ({how})" if how else ""
        )
        return LostError(self._lost)

    def close(self) -> None:
        """End the process."""
        self._wire.close()
        self.context.close()
