"""Ranges of bytes in open files, read without moving the file, so that threads can share it."""

from __future__ import annotations

import dataclasses
import io
import os
from typing import BinaryIO

from matrix.checkpoint.errors import Malformed

_ENDED = "it ended while it was copied"


class FileRange(io.BytesIO):
    """A range of a file as a stream of its own.

    :param stream: the file, which must stay open.
    :param start: position of the first byte.
    :param size: number of bytes.
    """

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self.stream, self.start, self.size, self._place = stream, start, size, 0

    def tell(self) -> int:
        """Return the position in the range."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position in the range, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes from the position on."""
        left = max(0, self.size - self._place)
        self.stream.seek(self.start + self._place)
        data = self.stream.read(left if size is None or size < 0 else min(size, left))
        self._place += len(data)
        return data


def read_at(stream: BinaryIO, start: int, size: int) -> bytes:
    """Return bytes of a file from a position, fewer if it ends before."""
    if isinstance(stream, FileRange):
        return read_at(stream.stream, stream.start + start, max(0, min(size, stream.size - start)))
    if isinstance(stream, io.BytesIO):
        return bytes(stream.getbuffer()[start : start + size])
    return os.pread(stream.fileno(), size, start)


def read_into(stream: BinaryIO, start: int, memory: memoryview) -> int:
    """Read bytes of a file from a position into memory, and return how many there were."""
    if isinstance(stream, FileRange):
        held = memory[: max(0, stream.size - start)]
        return read_into(stream.stream, stream.start + start, held)
    if isinstance(stream, io.BytesIO):
        data = read_at(stream, start, len(memory))
        memory[: len(data)] = data
        return len(data)
    return os.preadv(stream.fileno(), [memory], start)


@dataclasses.dataclass(frozen=True)
class Span:
    """A range of bytes of an open file."""

    stream: BinaryIO
    start: int
    """Position of the first byte in the stream."""
    size: int

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of the range; any thread may call this.

        :param start: position in the range.
        :raises Malformed: the file ends before.
        """
        data = read_at(self.stream, self.start + start, size)
        if len(data) != size:
            raise Malformed(_ENDED)
        return data

    def read_into(self, start: int, memory: memoryview) -> None:
        """Read bytes of the range into memory; any thread may call this.

        :param start: position in the range.
        :raises Malformed: the file ends before.
        """
        if read_into(self.stream, self.start + start, memory) != len(memory):
            raise Malformed(_ENDED)
