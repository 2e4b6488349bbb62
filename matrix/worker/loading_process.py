"""A process that answers one load after another, as long as each leaves nothing behind.

Forking a process for every load takes as long as the load itself. One that puts the state of
the process back and builds its model anew is as good as a new process, where nothing is left
that cannot be put back. Candidates, whose code nobody has looked at, get a process for each.
"""

import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Dict, Optional

from matrix.worker.protocol import Message

if TYPE_CHECKING:  # it imports torch, which a release process does later
    from matrix.worker.process_state import ProcessState

_MOST = 64
"""Loads of one process: what it frees is not collected, see ``forking``."""

Perform = Callable[[Message], Message]
Reader = Callable[[int, float], Optional[bytes]]


class LoadingProcess:
    """Forks the process when it is needed, and again when it is used up.

    :param state: the state after the release was imported, before any model was built.
    :param leave: called in the process first.
    :param perform: carries out a request.
    :param read: reads a line from a descriptor until a time; None where there is none in time.
    """

    def __init__(
        self, state: "ProcessState", leave: Callable[[], None], perform: Perform, read: Reader
    ) -> None:
        self._state = state
        self._leave = leave
        self._perform = perform
        self._read = read
        self._process: Optional[int] = None

    def answer(self, request: Message) -> "tuple[Optional[bytes], int]":
        """Return the line that the process answers, and its exit status where it has ended.

        The line is None where none came in time, and torn where the process crashed.
        """
        if self._process is None:
            self._fork()
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            self._requests.write(json.dumps(request).encode("utf-8") + b"\n")
            self._requests.flush()
        line = self._read(self._answers, began + request["timeout"])
        if line is None or not line.endswith(b"\n") or b'"goes_on": true' not in line[-32:]:
            return line, self._end(kill=line is None)
        return line, 0

    def close(self) -> None:
        """End the process, if it is running."""
        if self._process is not None:
            self._end(kill=False)

    def _end(self, *, kill: bool) -> int:
        assert self._process is not None
        if kill:
            os.kill(self._process, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        os.close(self._answers)
        _pid, status = os.waitpid(self._process, 0)
        self._process = None
        return status

    def _fork(self) -> None:
        from_harness, requests = os.pipe()
        self._answers, to_harness = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(requests)
            os.close(self._answers)
            self._leave()
            with os.fdopen(from_harness, "rb") as lines, os.fdopen(to_harness, "wb") as answers:
                self._serve(lines, answers)
            os._exit(0)
        os.close(from_harness)
        os.close(to_harness)
        self._requests = os.fdopen(requests, "wb")

    def _serve(self, lines: BinaryIO, answers: BinaryIO) -> None:
        for number, line in enumerate(lines, start=1):
            reply: Dict[str, Any] = self._perform(json.loads(line))
            goes_on = "answer" in reply and number < _MOST and self._state.restore()
            answers.write(json.dumps(dict(reply, goes_on=goes_on)).encode("utf-8") + b"\n")
            answers.flush()
            if not goes_on:
                return
