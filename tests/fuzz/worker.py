"""What a worker says: its greeting and its answers, on their way into evidence."""

from __future__ import annotations

import datetime
import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import fsspec

from fakes.planting import exported
from fuzz.altering import altered, lines
from fuzz.altering import seeds as seeds_of
from helpers.builders import a_load, a_plan, a_save
from matrix.catalogue import faq
from matrix.catalogue.releases import Release
from matrix.judge import judge
from matrix.lane.context import ProcessContext
from matrix.lane.execution import execute
from matrix.lane.process import ReleaseProcess, start_message
from matrix.lane.run import Run, RunOptions
from matrix.lane.threads import ThreadExecutor
from matrix.plan.evidence_index import EvidenceIndex, pairs
from matrix.store.store import Store
from matrix.worker import PROTOCOL

_FOLDER = Path(tempfile.mkdtemp(prefix="te-matrix-fuzz-"))
_SOURCE = "/source"
_FAQ = faq.load()
_TODAY = datetime.date(2026, 11, 24)


class _Fuzzed:
    """A runner whose every release process says what the input says, and ends."""

    resident = True

    def __init__(self, said: bytes) -> None:
        self._said = said
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for end in self._ends:
            end.close()

    def open(self, release: Release, source: Path | None, lane: str) -> ReleaseProcess:
        ours, theirs = socket.socketpair()
        self._ends.append(theirs)  # it takes requests, and has said all that it will say
        theirs.sendall(self._said[:65536])
        theirs.shutdown(socket.SHUT_WR)
        start = start_message(release, str(source), lane, _FOLDER / "log")
        return ReleaseProcess(release, ours, start, _Written())


class _Written(ProcessContext):
    """A context in which every save is written."""

    def collect(self, path: Path) -> None:
        path.write_bytes(b"checkpoint")


class _Here:
    def get(self, _release: Release) -> Path:
        return Path(_SOURCE)


def talked(said: bytes) -> Store:
    """Have 1.8 save and load with a worker that says this, and return what was kept.

    Whatever it said, every cell has a verdict.
    """
    fsspec.filesystem("memory").store.clear()
    made, store = a_plan(["1.8"], ["1.8"]), Store("memory://fuzzed")
    run = Run(made, store, _Here(), RunOptions(jobs=1), None)
    execute(run, ThreadExecutor(_Fuzzed(said)))
    found = judge.judge(EvidenceIndex(made, store, None), _FAQ, (), _TODAY)
    assert sum(found.totals.values()) == len(made.cells)
    return store


def one(data: bytes) -> None:
    """Take one input for what a worker says."""
    talked(lines(altered(data, CONVERSATIONS)))


def _conversation() -> list[Any]:
    """What a good worker says when 1.8 saves and loads."""
    made = a_plan(["1.8"], ["1.8"])
    save = a_save(made, "1.8").model_dump(mode="json")
    load = a_load(made, a_save(made, "1.8"), "1.8").model_dump(mode="json")
    answers: list[Any] = [
        save | {"state_digest": "s", "gaps": []},
        {"keys": [], "gaps": []},
        *([load | {"gaps": []}] * len(pairs(made))),
    ]
    hello = {
        "protocol": PROTOCOL,
        "release": "1.8",
        "te_file": f"{_SOURCE}/transformer_engine/__init__.py",
        "te_version": "1.8.0",
        "torch": "2.13.0",
        "python": "3.11",
        "machine": "x86_64",
        "opt_in": None,
        **exported(made.releases["1.8"]),
    }
    said = [{"id": n, "answer": a, "seconds": 0.1} for n, a in enumerate(answers, start=1)]
    failed = [{"id": 1, "failure": {"kind": "crash", "type": "E", "message": "m", "gaps": ["x"]}}]
    return [[hello, *said], [hello, *failed], [hello]]


CONVERSATIONS = _conversation()


def seeds() -> Iterator[bytes]:
    """Yield whole conversations, and inputs that alter them."""
    yield from seeds_of(CONVERSATIONS)
    yield json.dumps(CONVERSATIONS[2][0]).encode() + b"\n"
