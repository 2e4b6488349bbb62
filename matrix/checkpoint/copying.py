"""Copying ranges of bytes, and comparing digests of tensors before and after."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import BinaryIO, NamedTuple

from matrix.checkpoint.errors import CheckpointError, Malformed

CHUNK = 1 << 20

Copied = Callable[[int], None]
"""Callback for progress; receives the number of bytes just copied or compared."""


@dataclasses.dataclass(frozen=True)
class Content:
    """The content of a storage that is made while it is written."""

    size: int
    """Number of bytes."""
    itemsize: int
    """Bytes per element."""
    chunks: Callable[[], Iterable[bytes]]
    """Returns the bytes, in chunks."""

    @classmethod
    def of(cls, data: bytes, itemsize: int = 1) -> Content:
        """Return content that is there already."""
        return cls(len(data), itemsize, lambda: [data])

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


def chunks(stream: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    """Yield the bytes of a range of a file, in chunks.

    :raises Malformed: the file ends before the range does.
    """
    stream.seek(start)
    while size:
        chunk = stream.read(min(CHUNK, size))
        if not chunk:
            raise Malformed("it ended while it was copied")
        yield chunk
        size -= len(chunk)


def copy(parts: Iterable[bytes], out: BinaryIO, copied: Copied) -> None:
    """Write chunks to a file and report progress."""
    for chunk in parts:
        out.write(chunk)
        copied(len(chunk))


def digest(parts: Iterable[bytes], copied: Copied) -> str:
    """Return the SHA-256 of chunks, in hexadecimal, and report progress."""
    seen = hashlib.sha256()
    for chunk in parts:
        seen.update(chunk)
        copied(len(chunk))
    return seen.hexdigest()


def compare(
    before: Mapping[str, str], after: Mapping[str, str], replaced: Collection[str], what: str
) -> None:
    """Check that every digest is unchanged.

    :param replaced: keys of the storages or tensors that the edits change or remove.
    :param what: name of the file, for the error message.
    :raises CheckpointError: one differs.
    """
    for key, value in before.items():
        if key not in replaced and after.get(key) != value:
            raise CheckpointError(
                f"{what}: tensor data {key} is not what it was",
                why="the disk or the memory failed, or the file was changed meanwhile",
                do="Run it again; nothing was written",
            )
