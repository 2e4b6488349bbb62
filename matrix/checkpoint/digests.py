"""Proof that tensors are the same bytes in two files: digests, storage by storage."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from matrix.checkpoint import safetensors
from matrix.checkpoint.limits import CheckpointError
from matrix.checkpoint.torchfile import TorchFile

_CHUNK = 1 << 20
Read = Callable[[int], None]
"""Is told how many bytes have been read."""


def of_storages(source: TorchFile, read: Read) -> dict[str, str]:
    """Return the SHA-256 of every storage in a ``torch.save`` file, by its key."""
    if source.archive is None:
        return {
            key: _of_range(source.stream, start, size, read)
            for key, (start, size) in source.storages.items()
        }
    found = {}
    prefix = f"{source.prefix}data/"
    for name in source.archive.entries:
        if name.startswith(prefix):
            seen = hashlib.sha256()
            for chunk in source.archive.chunks(name, _CHUNK):
                seen.update(chunk)
                read(len(chunk))
            found[name.removeprefix(prefix)] = seen.hexdigest()
    return found


def of_tensors(header: safetensors.Header, stream: BinaryIO, read: Read) -> dict[str, str]:
    """Return the SHA-256 of every tensor in a safetensors file, by its key."""
    found = {}
    for key, entry in header.tensors.items():
        first, last = entry["data_offsets"]
        found[key] = _of_range(stream, header.start + first, last - first, read)
    return found


def _of_range(stream: BinaryIO, start: int, size: int, read: Read) -> str:
    stream.seek(start)
    seen = hashlib.sha256()
    while size:
        chunk = stream.read(min(_CHUNK, size))
        if not chunk:
            break
        seen.update(chunk)
        read(len(chunk))
        size -= len(chunk)
    return seen.hexdigest()


def compare(before: dict[str, str], after: dict[str, str], gone: set[str], what: str) -> None:
    """See that every storage or tensor is what it was, but for those that were to go.

    :raises CheckpointError: one is not.
    """
    for key, digest in before.items():
        if key not in gone and after.get(key) != digest:
            raise CheckpointError(
                f"{what}: tensor data {key} is not what it was",
                why="the disk or the memory failed, or the file was changed meanwhile",
                do="Run it again; nothing was written",
            )
