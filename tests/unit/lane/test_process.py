"""Rule: a worker that misbehaves is named as what it is, and never believed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from matrix.catalogue.releases import Catalogue
from matrix.errors import WorkerError
from matrix.lane import process, protocol, wire
from matrix.lane.environment import worker_environment
from matrix.lane.process import ReleaseProcess
from matrix.lane.protocol import StartMessage

START = StartMessage(lane="cpu", version="1.8", source="/sources/x", log="/logs/1.8.log")
HELLO: dict[str, Any] = {
    "protocol": 1,
    "release": "1.8",
    "te_file": "/sources/x/transformer_engine/__init__.py",
    "te_version": "1.8.0",
    "torch": "2.13.0",
    "python": "3.11",
    "machine": "x86_64",
    "opt_in": None,
    "modules": [
        "DotProductAttention",
        "LayerNorm",
        "LayerNormLinear",
        "LayerNormMLP",
        "Linear",
        "MultiheadAttention",
        "RMSNorm",
        "TransformerLayer",
    ],
    "recipes": ["DelayedScaling"],
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "START_TIMEOUT", 0.5)
    monkeypatch.setattr(process, "GRACE", 0.2)
    monkeypatch.setattr(wire, "LONGEST", 2 << 20)


class Fake:
    """The worker's end of the socket, answering each request by the next script line."""

    def __init__(self, *script: bytes | dict[str, Any] | None) -> None:
        self.ours, self._theirs = socket.socketpair()
        self._script = script
        threading.Thread(target=self._play, daemon=True).start()

    def _play(self) -> None:
        # The harness may close its end first.
        broken = contextlib.suppress(OSError)
        with broken, self._theirs, self._theirs.makefile("rb") as reader:
            for number, line in enumerate(self._script):
                if (number and not reader.readline()) or line is None:
                    return
                data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                self._theirs.sendall(data)
            reader.readline()


@pytest.fixture
def opened(known: Catalogue) -> Iterator[Any]:
    processes: list[ReleaseProcess] = []

    def make(*script: bytes | dict[str, Any] | None) -> ReleaseProcess:
        made = ReleaseProcess(known["1.8"], Fake(*script).ours, START)
        processes.append(made)
        return made

    yield make
    for each in processes:
        each.close()


def test_a_well_behaved_worker(opened: Any) -> None:
    process = opened(HELLO, {"id": 1, "answer": {"keys": []}})
    assert process.ask("save", 1).answer == {"keys": []}
    process.close()


@pytest.mark.parametrize(
    ("hello", "complaint"),
    [
        ({**HELLO, "protocol": 2}, "speaks protocol 2, not 1"),
        ({**HELLO, "release": "1.9"}, "asked to be 1.8 says it is 1.9"),
        ({**HELLO, "te_file": "/usr/lib/transformer_engine/__init__.py"}, "came first"),
        ({**HELLO, "recipes": []}, "features.toml says: it lacks DelayedScaling, .* since 1.0"),
        ({**HELLO, "modules": [*HELLO["modules"], "GroupedLinear"]}, "has GroupedLinear, .* 1.9"),
        ({**HELLO, "opt_in": "NVTE_X"}, "has the opt-in NVTE_X, the catalogue says None"),
        (
            {"protocol": 1, "failure": {"type": "ImportError", "message": "no einops"}},
            "1.8 cannot be imported: ImportError: no einops. See /logs/1.8.log",
        ),
        (b'{"protocol": 1, "rel', "did not answer|half a line"),
        (b"hello\n", "did not answer"),
        (b"[]\n", "it answered list where an object is due"),
        ({"protocol": 1}, "does not say what it is: release: Field required"),
        ({"ended": "killed by signal 9"}, "is lost: it ended: killed by signal 9"),
        ({"protocol": 1, "failure": "no"}, "does not say what it is"),
        ({**HELLO, "te_file": None}, "does not say what it is"),
        (None, "it ended"),
    ],
)
def test_a_bad_start_is_refused(opened: Any, hello: Any, complaint: str) -> None:
    with pytest.raises(WorkerError, match=complaint):
        opened(hello)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"id": 7, "answer": {}}, "answered request 7 instead of 1"),
        ({"id": 1}, "answered neither with an answer nor with a failure"),
        ({"id": 1, "answer": []}, "answered neither with"),
        ({"id": 1, "answer": {"gaps": "x"}}, "answered neither with"),
        ({"id": 1, "failure": {"type": "X"}}, "answered neither with an answer nor"),
        ({"id": 1, "failure": {"message": "m"}}, "answered neither with"),
        ({"id": 1, "failure": {"kind": 1, "message": "m"}}, "answered neither with"),
        (b"x" * 3_000_000, "answered more than 2 MiB in one line"),
        (b"[" * 100_000 + b"\n", "did not answer in JSON"),
        (b'{"id": 1, "ans', "did not answer|answered half a line"),
        (None, "ended"),
    ],
)
def test_a_bad_answer_loses_the_process(opened: Any, answer: Any, complaint: str) -> None:
    process = opened(HELLO, answer)
    with pytest.raises(WorkerError, match=f"release 1.8 is lost: it ({complaint})"):
        process.ask("load", 0.2)
    with pytest.raises(WorkerError, match="is lost"):
        process.ask("load", 0.2)


def test_bytes_that_trickle_are_no_answer() -> None:
    """The time that an answer may take is that of its last byte."""
    ours, theirs = socket.socketpair()
    enough = threading.Event()

    def trickle() -> None:
        with theirs:
            while not enough.wait(0.02):
                theirs.sendall(b" ")

    thread = threading.Thread(target=trickle)
    thread.start()
    with pytest.raises(wire.WireError, match="it did not answer: timed out"):
        wire.Wire(ours).receive(0.2)
    enough.set()
    thread.join()
    ours.close()


def test_a_text_that_no_file_could_hold_is_made_one(opened: Any) -> None:
    process = opened(HELLO, b'{"id": 1, "answer": {"a": "x\\ud800y", "b": "\\uD83D\\uDE00"}}\n')
    assert process.ask("save", 1).answer == {"a": "x?y", "b": "\N{GRINNING FACE}"}


def test_no_variable_of_te_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE", "1")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    assert (
        not {"NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE", "SECRET_TOKEN"} & worker_environment().keys()
    )
