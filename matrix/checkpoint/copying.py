"""Copying ranges of bytes, and proving by digests that tensors were not changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import BinaryIO, NamedTuple

from matrix.checkpoint.errors import CheckpointError, Malformed

CHUNK = 1 << 20

Copied = Callable[[int], None]
"""Is told how many bytes have been copied or compared."""


class NewContent(NamedTuple):
    """What a ``torch.save`` file that is written anew holds.

    :param kept: keys of the storages to copy; ``added``: the contents of further ones.
    """

    pickle: bytes
    kept: Collection[str]
    added: Mapping[str, bytes]


def chunks(stream: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    """Yield a range of a file.

    :raises Malformed: the file ends before.
    """
    stream.seek(start)
    while size:
        chunk = stream.read(min(CHUNK, size))
        if not chunk:
            raise Malformed("it ended while it was copied")
        yield chunk
        size -= len(chunk)


def copy(parts: Iterable[bytes], out: BinaryIO, copied: Copied) -> None:
    """Write chunks one after the other."""
    for chunk in parts:
        out.write(chunk)
        copied(len(chunk))


def digest(parts: Iterable[bytes], copied: Copied) -> str:
    """Return the SHA-256 of chunks."""
    seen = hashlib.sha256()
    for chunk in parts:
        seen.update(chunk)
        copied(len(chunk))
    return seen.hexdigest()


def compare(
    before: Mapping[str, str], after: Mapping[str, str], replaced: Collection[str], what: str
) -> None:
    """Check that every digest is unchanged.

    :param replaced: keys of the storages or tensors that were to change or go.
    :param what: the file, for the error's message.
    :raises CheckpointError: one differs.
    """
    for key, value in before.items():
        if key not in replaced and after.get(key) != value:
            raise CheckpointError(
                f"{what}: tensor data {key} is not what it was",
                why="the disk or the memory failed, or the file was changed meanwhile",
                do="Run it again; nothing was written",
            )
