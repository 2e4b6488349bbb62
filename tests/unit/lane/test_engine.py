"""Rule: where no engine answers, whatever was opened to ask it is closed."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from matrix.errors import EngineError
from matrix.lane.containers import engine


def http(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


VERSION = http("200 OK", '{"ApiVersion": "1.44"}')
FINE = http("200 OK", "OK")
BROKEN = http("500 Internal Server Error", "no")


class Listener:
    """Gives each connection the next answer and closes it, then takes no more.

    The SDK opens a connection for every question.
    """

    def __init__(self, path: Path, *answers: bytes) -> None:
        self._path, self._answers = path, answers

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self._path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join()
        self._path.unlink()
        self._socket.close()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._socket.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)


def open_sockets() -> set[int]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        # What the list is read through is closed by now.
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                found.add(int(entry.name))
    return found


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where DOCKER_HOST points."""
    for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine")
    monkeypatch.setattr(engine, "TIMEOUT", 5)
    return tmp_path / "engine"


@pytest.fixture(autouse=True)
def nothing_left_to_the_collector() -> Iterator[None]:
    """No socket is closed only because the garbage collector found it."""
    gc.collect()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(warning.message) for warning in found] == []


def refused() -> None:
    """Ask for the engine in vain; all is closed while the error still holds what it met."""
    before = open_sockets()
    with pytest.raises(EngineError, match="no container engine answers") as raised:
        engine.connect()
    assert open_sockets() == before
    del raised


def test_no_such_socket(address: Path) -> None:
    refused()


def test_a_socket_that_nobody_listens_on(address: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(address))
    refused()


def test_a_port_that_nobody_listens_on(address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        refused()


def test_an_address_that_is_none(address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense://")
    refused()


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([b""], id="hangs up"),
        pytest.param([b"garbage\r\n\r\n"], id="garbage"),
        pytest.param([BROKEN], id="fails"),
        pytest.param([http("200 OK", "no JSON")], id="no JSON"),
        pytest.param([http("200 OK", "{}")], id="another server"),
        pytest.param([http("200 OK", '{"ApiVersion": "1.0"}')], id="too old"),
        pytest.param([VERSION, BROKEN], id="fails at the second question"),
        pytest.param([VERSION, b""], id="hangs up at the second question"),
    ],
)
def test_a_listener_that_is_no_engine(address: Path, answers: list[bytes]) -> None:
    before = open_sockets()
    with (
        Listener(address, *answers),
        pytest.raises(EngineError, match="no container engine answers") as raised,
    ):
        engine.connect()
    assert open_sockets() == before
    del raised


def test_a_listener_that_says_nothing(address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "TIMEOUT", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(address))
        silent.listen()
        refused()


def test_an_engine_that_goes_away(address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for it to come back leaves nothing open either."""
    monkeypatch.setattr(engine, "PATIENCE", 0.1)
    before = open_sockets()
    with Listener(address, VERSION, FINE):
        client = engine.connect()
    with pytest.raises(engine.EngineGone) as raised:
        engine.with_retry(client, client.ping)
    client.close()
    assert open_sockets() == before
    del raised
