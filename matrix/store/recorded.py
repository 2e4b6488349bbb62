"""Recorded evidence: the records and checkpoints in ``fixtures/``, shipped with the package.

Recorded are the evidence of the whole matrix, and the checkpoints of every release whose
source is not on the package index and of two whose source is.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from matrix.catalogue.words import Lane
from matrix.errors import StoreError
from matrix.store.archive import Archive, write
from matrix.store.records import Load, Save
from matrix.system import shipped

RECORDED_FROM_INDEX = ("1.11", "2.17.1")
"""Releases on the package index that are recorded too, to compare recorded and live evidence."""


def folder(lane: Lane) -> Path:
    """Return the folder of the recorded evidence of a lane."""
    return shipped.folder("fixtures", "fixtures") / str(lane)


@cache
def evidence(lane: Lane) -> Archive | None:
    """Return the recorded evidence of a lane; None where there is none.

    :raises StoreError: the file cannot be read.
    """
    path = folder(lane) / "evidence.jsonl.gz"
    return Archive(path) if path.exists() else None


def _checkpoint(lane: Lane, digest: str) -> Path:
    return folder(lane) / "checkpoints" / f"{digest}.pt.gz"


def has_checkpoint(lane: Lane, digest: str) -> bool:
    """Return whether a checkpoint is recorded.

    :param digest: SHA-256 of its bytes.
    """
    return _checkpoint(lane, digest).exists()


def checkpoint(lane: Lane, digest: str) -> bytes | None:
    """Return the bytes of a recorded checkpoint; None where it is not recorded.

    :param digest: SHA-256 of its bytes.
    :raises StoreError: the file cannot be read, or its bytes do not match the digest.
    """
    path = _checkpoint(lane, digest)
    if not path.exists():
        return None
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise StoreError(f"{path} cannot be read: {error}", do="Restore it") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreError(f"{path} does not match its digest", do="Restore it from the repository")
    return data


def refresh(
    lane: Lane,
    records: Iterable[Save | Load],
    checkpoints: dict[str, bytes],
    recorded_at: str,
) -> int:
    """Replace the recorded evidence of a lane, and return the number of records.

    :param checkpoints: bytes of the checkpoints to keep, by their SHA-256.
    :param recorded_at: see :attr:`ArchiveHeader.recorded_at`.
    :raises StoreError: the file cannot be written.
    """
    place = folder(lane)
    kept = place / "checkpoints"
    kept.mkdir(parents=True, exist_ok=True)
    for old in kept.glob("*.pt.gz"):
        old.unlink()
    for digest, data in checkpoints.items():
        (kept / f"{digest}.pt.gz").write_bytes(gzip.compress(data, mtime=0))
    evidence.cache_clear()
    return write(place / "evidence.jsonl.gz", records, recorded_at)
