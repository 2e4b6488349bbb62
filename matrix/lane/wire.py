"""JSON Lines over a socket to a worker that may send anything, at any pace, or nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

LONGEST = 16 << 20
"""Maximum length of a line in bytes; known answers have up to about 100 kB."""

_PART = 1 << 16


class WireError(Exception):
    """The worker does not communicate as it should. The message is a clause: "it ..."."""


class Wire:
    """The harness's end of the connection.

    :param connection: a stream socket; it is closed with the wire.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._read = bytearray()

    def send(self, message: dict[str, Any], timeout: float) -> None:
        """Send one message.

        :param timeout: limit in seconds.
        :raises WireError: the message could not be sent.
        """
        self._connection.settimeout(timeout)
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise WireError(f"it does not take requests: {error}") from error

    def receive(self, timeout: float) -> dict[str, Any]:
        """Return the next message.

        :param timeout: limit in seconds until its last byte arrives.
        :raises WireError: no valid message arrived in time.
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
        """Close the connection, so that the worker reads the end of its input."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _parsed(line: bytes) -> Any:
    """Return the value of a line of JSON, with lone surrogates in its texts replaced.

    :raises ValueError: it is no JSON.
    :raises RecursionError: it is nested too deeply.
    """
    found = json.loads(line)
    if b"\\ud" in line.lower():  # maybe a lone surrogate, which UTF-8 cannot encode
        text = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
        found = json.loads(text)
    return found
