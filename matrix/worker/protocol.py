"""JSON Lines over a byte stream: one request, one reply, in order."""

import json
import os
from typing import Any, BinaryIO, Dict, Optional

Message = Dict[str, Any]


class Channel:
    """One end of the conversation.

    :param reader: binary stream that requests arrive on.
    :param writer: binary stream that replies leave on.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer

    def receive(self) -> Optional[Message]:
        """Return the next message, or None at the end of the stream."""
        line = self._reader.readline()
        return json.loads(line) if line else None

    def send(self, message: Message) -> None:
        """Write one message and flush it."""
        self._writer.write(json.dumps(message).encode("utf-8") + b"\n")
        self._writer.flush()

    def leave(self) -> None:
        """Take no part any more: a cell's process must not speak for its release."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (self._reader, self._writer):
            os.dup2(nothing, stream.fileno())
        os.close(nothing)
