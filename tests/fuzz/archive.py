"""An exported file of evidence: JSON Lines with header and footer, plain or compressed."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fuzz.altering import altered, lines
from fuzz.altering import seeds as seeds_of
from helpers.builders import some_records
from matrix.errors import MatrixError
from matrix.store.archive import Archive, write

_FOLDER = Path(tempfile.mkdtemp(prefix="te-matrix-fuzz-"))


def one(data: bytes) -> None:
    """Read one input as a file, compressed, and as if it were compressed."""
    whole = lines(altered(data, _DOCUMENTS))
    _read("a.jsonl", whole)
    _read("b.jsonl.gz", data)
    _read("c.jsonl.gz", gzip.compress(whole, 1))


def _read(name: str, data: bytes) -> None:
    path = _FOLDER / name
    path.write_bytes(data)
    try:
        archive = Archive(path)
        records = archive.records()
        for record in records:
            archive.saves(record.key) if record.record == "save" else archive.loads(record.key)
    except MatrixError:
        return
    write(_FOLDER / "again.jsonl", records, "2026-11-24")
    assert len(Archive(_FOLDER / "again.jsonl").records()) == len(records)


def _file() -> bytes:
    records = [record for record in some_records() if record.record != "attempt"]
    write(_FOLDER / "seed.jsonl", records, "2026-11-24")
    return (_FOLDER / "seed.jsonl").read_bytes()


_DOCUMENTS = [[json.loads(line) for line in _file().splitlines()]]


def seeds() -> Iterator[bytes]:
    """Yield a whole file, plain and compressed, and inputs that alter it."""
    yield _file()
    yield gzip.compress(_file())
    yield from seeds_of(_DOCUMENTS)
