"""JSON Lines to and from a worker that may say anything, at any pace, or nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

LONGEST = 16 << 20
"""Bytes that one line of a worker may have; the longest answers known have some 100 kB."""

_PART = 1 << 16


class WireError(Exception):
    """What is wrong with the other end, as a clause about it: "it ..."."""


class Wire:
    """The harness's end of a conversation.

    :param connection: a stream socket; closing the wire closes it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = bytearray()

    def send(self, message: dict[str, Any], timeout: float) -> None:
        """Send one message.

        :param timeout: seconds to wait for the other end to take it.
        :raises WireError: it does not.
        """
        self._connection.settimeout(timeout)
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise WireError(f"it does not take requests: {error}") from error

    def receive(self, timeout: float) -> dict[str, Any]:
        """Return the next message.

        :param timeout: seconds until its last byte has to be here, however they trickle.
        :raises WireError: none came that is one.
        """
        line = self._line(time.monotonic() + timeout)
        try:
            message = _parsed(line)
        except (ValueError, RecursionError) as error:
            raise WireError(f"it did not answer in JSON but {line[:80]!r}") from error
        if not isinstance(message, dict):
            raise WireError(f"it answered {type(message).__name__} where an object is due")
        return message

    def _line(self, deadline: float) -> bytes:
        """Return the bytes up to the next newline."""
        seen = 0
        while (end := self._read.find(b"\n", seen)) < 0:
            seen = len(self._read)
            if seen > LONGEST:
                raise WireError(f"it answered more than {LONGEST >> 20} MiB in one line")
            part = self._more(deadline)
            if not part:
                raise WireError("it answered half a line" if self._read else "it ended")
            self._read += part
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def _more(self, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0:
            raise WireError("it did not answer: timed out")
        self._connection.settimeout(left)
        try:
            return self._connection.recv(_PART)
        except TimeoutError as error:
            raise WireError("it did not answer: timed out") from error
        except OSError as error:
            raise WireError(f"it did not answer: {error}") from error

    def close(self) -> None:
        """End the conversation; the other end reads its end, too."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _parsed(line: bytes) -> Any:
    """Return what a line of JSON holds, its texts such that UTF-8 can write them.

    :raises ValueError: it is no JSON.
    :raises RecursionError: it is nested too deeply.
    """
    found = json.loads(line)
    if b"\\ud" in line.lower():  # perhaps half of a surrogate pair; no record could hold it
        text = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
        found = json.loads(text)
    return found
