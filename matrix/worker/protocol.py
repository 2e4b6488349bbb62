"""JSON Lines over a byte stream: one request, one reply, in order.

If a process ends instead of replying, ``{"ended": how}`` is sent in its place.
"""

import json
import os
import signal
from typing import Any, BinaryIO, Dict, Optional

Message = Dict[str, Any]


def how_it_ended(status: int) -> str:
    """Return a status of ``waitpid`` as text."""
    if not os.WIFSIGNALED(status):
        return "exit status {}".format(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    hint = ", as the kernel does when memory runs out" if number == signal.SIGKILL else ""
    return "killed by signal {}{}".format(number, hint)


class Channel:
    """The worker's end of the connection.

    :param reader: binary stream that requests arrive on.
    :param writer: binary stream that replies leave on.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer

    def fileno(self) -> int:
        """Return the descriptor that requests arrive on."""
        return self._reader.fileno()

    def receive(self) -> Optional[Message]:
        """Return the next message, or None at the end of the stream."""
        line = self._reader.readline()
        return json.loads(line) if line else None

    def send(self, message: Message) -> None:
        """Write one message and flush it."""
        self._writer.write(json.dumps(message).encode("utf-8") + b"\n")
        self._writer.flush()

    def leave(self) -> None:
        """Detach this process from the connection: a child must not answer for its release."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (self._reader, self._writer):
            os.dup2(nothing, stream.fileno())
        os.close(nothing)
