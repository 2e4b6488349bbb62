"""Writing bytes that are fetched or made by threads ahead of it, and reading them back.

Everything that is written is read from the file again and compared, while the kernel still has it
in memory; what the device has stored cannot be known without asking the device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.spans import Span, read_into

CHUNK = 1 << 20
"""Bytes that are copied, or elements that are converted, at once."""
_SMALL = 1 << 16
"""Pieces of fewer bytes are not worth handing to another thread."""
_THREADS = max(1, min(4, len(os.sched_getaffinity(0)))) if hasattr(os, "sched_getaffinity") else 2
_AHEAD = _THREADS + 2
"""The most pieces that wait to be written, whose memory is taken meanwhile."""

Copied = Callable[[int], None]
"""Callback for progress; receives the number of bytes just written."""


class Piece(NamedTuple):
    """Bytes to write, which any thread may fetch or make."""

    size: int
    fill: Callable[[memoryview], None]
    """Writes the bytes into memory of this size."""


@dataclasses.dataclass(frozen=True)
class Content:
    """The content of a storage that is made while it is written."""

    size: int
    """Number of bytes."""
    itemsize: int
    """Bytes per element."""
    pieces: Callable[[], Iterable[Piece]]
    """Returns the bytes, in pieces."""

    @classmethod
    def of(cls, data: bytes, itemsize: int = 1) -> Content:
        """Return content that is there already."""

        def fill(memory: memoryview) -> None:
            memory[:] = data

        return cls(len(data), itemsize, lambda: [Piece(len(data), fill)] if data else [])

    @property
    def count(self) -> int:
        """Number of elements."""
        return self.size // self.itemsize


class NewContent(NamedTuple):
    """The content of a ``torch.save`` file that is written anew."""

    pickle: bytes
    kept: Collection[str]
    """Keys of the storages to copy."""
    added: Mapping[str, Content]
    """Contents of additional storages, by key."""


def pieces(span: Span) -> Iterator[Piece]:
    """Yield the bytes of a range of a file as pieces."""
    for start in range(0, span.size, CHUNK):
        size = min(CHUNK, span.size - start)
        yield Piece(size, functools.partial(span.read_into, start))


def made(pieces: Iterable[Piece]) -> Generator[memoryview, None, None]:
    """Yield the bytes of pieces in order, while threads make the next ones.

    Memory is used again: what was yielded is valid until the next is asked for. The kernel clears
    memory that a program has not had before, which takes longer than copying into it.
    """
    waiting: deque[Callable[[], memoryview]] = deque()
    memory = [bytearray() for _ in range(_AHEAD)]
    pool = ThreadPoolExecutor(_THREADS, "te-matrix-copy")
    try:
        for number, piece in enumerate(pieces):
            if len(waiting) == _AHEAD:
                yield waiting.popleft()()
            place = number % len(memory)
            if len(memory[place]) < piece.size:
                memory[place] = bytearray(piece.size)
            fill = functools.partial(_filled, piece, memory[place])
            small = piece.size < _SMALL
            waiting.append(fill if small else pool.submit(fill).result)
        while waiting:
            yield waiting.popleft()()
    finally:
        pool.shutdown(cancel_futures=True)


def _filled(piece: Piece, memory: bytearray) -> memoryview:
    """Return the bytes of a piece, in some memory."""
    view = memoryview(memory)[: piece.size]
    piece.fill(view)
    return view


class Output:
    """The end of a file, to which bytes are written.

    :param stream: the file, open for writing and reading.
    :param copied: is told how many bytes were written.
    """

    def __init__(self, stream: BinaryIO, copied: Copied = lambda _size: None) -> None:
        self.stream = stream
        self._copied = copied
        self.start = stream.seek(0, io.SEEK_END)
        """Position in the file of the first byte that is written."""
        self.size = 0
        """Number of bytes written."""
        self._small = bytearray()
        """What was written last and not compared yet, as it is little."""
        self._memory = bytearray(CHUNK)

    def write(self, data: bytes | memoryview) -> None:
        """Write bytes at the end.

        :raises CheckpointError: the file does not have them afterwards.
        """
        self.stream.write(data)
        self.size += len(data)
        self._copied(len(data))
        if len(data) < _SMALL:
            self._small += data
        else:
            self._read_back(len(data))
            self._compare(self.start + self.size - len(data), data)
        if len(self._small) >= CHUNK:
            self.read_back()

    def copy(self, pieces: Iterable[Piece]) -> None:
        """Write pieces at the end.

        :raises CheckpointError: the file does not have them afterwards.
        :raises Malformed: one cannot be read.
        """
        with contextlib.closing(made(pieces)) as chunks:
            for chunk in chunks:
                self.write(chunk)

    def replace(self, place: int, data: bytes) -> None:
        """Write bytes anew.

        :param place: where, from the start of the output.
        """
        self.read_back()
        self.stream.seek(self.start + place)
        self.stream.write(data)
        self._compare(self.start + place, data)
        self.stream.seek(0, io.SEEK_END)

    def read_back(self) -> None:
        """Compare what was written since the last time with what the file holds.

        :raises CheckpointError: they differ.
        """
        self._read_back(0)

    def _read_back(self, behind: int) -> None:
        """Compare little writes, behind which some bytes were written."""
        if self._small:
            self._compare(self.start + self.size - behind - len(self._small), self._small)
            self._small.clear()

    def _compare(self, place: int, data: bytes | bytearray | memoryview) -> None:
        self.stream.flush()
        if len(self._memory) != len(data):
            self._memory = bytearray(len(data))
        if read_into(self.stream, place, memoryview(self._memory)) < len(data) or (
            self._memory != data
        ):
            raise CheckpointError(
                "what was written is not what is read from the new file",
                why="the disk or the memory failed",
                do="Run it again; nothing was written",
            )


@contextlib.contextmanager
def unchanged(file: Path) -> Iterator[None]:
    """Check that a file stays what it is while it is copied.

    :raises CheckpointError: it was written to, or replaced.
    :raises OSError: it cannot be found.
    """
    before = _identity(file)
    yield
    if _identity(file) != before:
        raise CheckpointError(
            f"{file} was changed while it was copied",
            why="it is still being written",
            do="Run it again when it is whole; nothing was written",
        )


def _identity(file: Path) -> tuple[int, ...]:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
