"""Recorded evidence: the records and checkpoints in ``fixtures/``, shipped with the package.

Recorded are the evidence of the whole matrix, and the checkpoints of every release whose
source is not on the package index and of two whose source is.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from matrix.catalogue.words import Lane
from matrix.errors import StoreError
from matrix.store.archive import Archive, write
from matrix.store.records import Load, Save
from matrix.system import shipped

RECORDED_FROM_INDEX = ("1.11", "2.17.1")
"""Releases on the package index that are recorded too, to compare recorded and live evidence."""
_EVIDENCE = "evidence"


def folder(lane: Lane) -> Path:
    """Return the folder of the recorded evidence of a lane."""
    return shipped.folder("fixtures", "fixtures") / str(lane)


def evidence_folder(lane: Lane) -> Path:
    """Return the folder of the records of a lane, which has a file for each scenario."""
    return folder(lane) / _EVIDENCE


class Recorded:
    """The recorded evidence of a lane: a file for each scenario, read on first use.

    :param folder: the folder of the files, each named for its scenario.
    """

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.jsonl*"))
        self._files = {path.name.partition(".jsonl")[0]: path for path in files}
        self._archives: dict[str, Archive] = {}

    def read(self, scenarios: Iterable[str]) -> None:
        """Read the files of scenarios now, side by side, as decompressing them takes most time.

        :raises StoreError: one cannot be read.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self._archive, scenarios))

    def saves(self, scenario: str, key: str) -> list[Save]:
        """Return the saves of a scenario under a key.

        :raises StoreError: the scenario's file cannot be read.
        """
        archive = self._archive(scenario)
        return archive.saves(key) if archive else []

    def loads(self, scenario: str, key: str) -> list[Load]:
        """Return the loads of a scenario under a key.

        :raises StoreError: the scenario's file cannot be read.
        """
        archive = self._archive(scenario)
        return archive.loads(key) if archive else []

    def repeats(self, record: Save | Load) -> bool:
        """Return whether all that is recorded under a record's key says the same as it.

        It is asked often, and finds out without parsing; see :meth:`Archive.repeats`.

        :raises StoreError: the scenario's file cannot be read.
        """
        archive = self._archive(record.scenario)
        return archive is not None and archive.repeats(record.key, record)

    def records(self) -> Iterator[Save | Load]:
        """Yield all records.

        :raises StoreError: a file cannot be read.
        """
        for scenario in self._files:
            archive = self._archive(scenario)
            assert archive is not None
            yield from archive.records()

    def _archive(self, scenario: str) -> Archive | None:
        if scenario not in self._archives and scenario in self._files:
            self._archives[scenario] = Archive(self._files[scenario])
        return self._archives.get(scenario)


@cache
def evidence(lane: Lane) -> Recorded | None:
    """Return the recorded evidence of a lane; None where there is none."""
    place = evidence_folder(lane)
    return Recorded(place) if place.is_dir() else None


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
    for old in (*kept.glob("*.pt.gz"), *(place / _EVIDENCE).glob("*.jsonl*")):
        old.unlink()
    for digest, data in checkpoints.items():
        (kept / f"{digest}.pt.gz").write_bytes(gzip.compress(data, mtime=0))
    evidence.cache_clear()
    return write_evidence(place / _EVIDENCE, records, recorded_at)


def write_evidence(place: Path, records: Iterable[Save | Load], recorded_at: str) -> int:
    """Write a file of records for each scenario into a folder, and return the number of records.

    :param recorded_at: see :attr:`ArchiveHeader.recorded_at`.
    :raises StoreError: a file cannot be written.
    """
    by_scenario: dict[str, list[Save | Load]] = defaultdict(list)
    for record in records:
        by_scenario[record.scenario].append(record)
    return sum(
        write(place / f"{scenario}.jsonl.xz", found, recorded_at)
        for scenario, found in by_scenario.items()
    )
