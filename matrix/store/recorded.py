"""Recorded evidence: ``fixtures/``, which also ships inside the installed package.

It holds the evidence of the whole matrix, and the checkpoints of every release
whose source is not on the package index and of two whose source is.
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
"""Two releases that the index has, recorded too, so that recorded is held against live."""


def folder(lane: Lane) -> Path:
    """Return the folder of recorded evidence: in the package, or beside it in a checkout."""
    return shipped.folder("fixtures", "fixtures") / str(lane)


@cache
def evidence(lane: Lane) -> Archive | None:
    """Return what was recorded for a lane, or None where nothing was."""
    path = folder(lane) / "evidence.jsonl.gz"
    return Archive(path) if path.exists() else None


def _checkpoint(lane: Lane, digest: str) -> Path:
    return folder(lane) / "checkpoints" / f"{digest}.pt.gz"


def has_checkpoint(lane: Lane, digest: str) -> bool:
    """Tell whether a checkpoint was recorded."""
    return _checkpoint(lane, digest).exists()


def checkpoint(lane: Lane, digest: str) -> bytes | None:
    """Return a recorded checkpoint's bytes, or None where it was not recorded.

    :raises StoreError: the bytes do not match the digest.
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
    """Replace what is recorded for a lane and return the number of records.

    :param checkpoints: bytes of the checkpoints to keep, by digest.
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
