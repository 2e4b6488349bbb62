"""Rule: on object storage, with many writers and faults, nothing is lost and nothing doubled."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.objects import ObjectServer
from helpers.synthetic import a_plan, records
from helpers.writers import RELEASES, checkpoint, last_checkpoint
from matrix.errors import StoreError
from matrix.store.records import Save
from matrix.store.store import Store

WRITERS = 8
TESTS = Path(__file__).parents[1]


def written(url: str, while_held: Callable[[int], None]) -> list[int]:
    """Run the writers; when the last one's upload is held, tell its process id."""
    command = [sys.executable, "-m", "helpers.writers", url, str(WRITERS)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
        assert running.stdout
        while_held(int(running.stdout.readline().split()[-1]))
        return [int(status) for status in running.stdout.readline().split()]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_eight_writers_one_killed_some_requests_refused(
    server: ObjectServer, tmp_path: Path
) -> None:
    server.every = 23
    server.hold = f"checkpoints/{digest(last_checkpoint(WRITERS - 1))}"

    def kill(process: int) -> None:
        assert server.held.wait(120)
        os.kill(process, signal.SIGKILL)

    ends = written("s3://bucket/store", kill)
    assert ends == [0] * (WRITERS - 1) + [signal.SIGKILL]
    assert min(server.refused[s] for s in ("500 Internal Server Error", "503 Slow Down")) > 3
    store = Store("s3://bucket/store")
    expected = records(a_plan(RELEASES))
    saves = {r.key: [r] for r in expected if isinstance(r, Save)}
    loads = {r.key: [r] for r in expected if not isinstance(r, Save)}
    found = store.loads()
    assert store.saves() == saves
    assert found.keys() == loads.keys()
    # Nothing doubled, but for the one load that one writer saw differently.
    (twice,) = [records for records in found.values() if len(records) != 1]
    assert sorted(len(record.missing_keys) for record in twice)[-1] == 1
    assert sorted(int(a.message) for a in store.attempts()["k"]) == list(range(WRITERS))
    whole = {digest(checkpoint(number)) for number in range(WRITERS - 1)}
    assert store.checkpoints() == whole
    assert all(store.checkpoint(name) is not None for name in whole)
    # What the killed one did not finish, the next one does.
    server.hold = ""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(last_checkpoint(WRITERS - 1))
    assert store.checkpoint(store.add_checkpoint(path)) == path.read_bytes()


def test_a_reader_sees_what_others_wrote_meanwhile(server: ObjectServer) -> None:
    reader, writer = Store("s3://bucket/store"), Store("s3://bucket/store/")
    assert not reader.exists()
    assert reader.saves() == {}
    writer.prepare()
    assert reader.exists()
    for count, record in enumerate(records(a_plan(3))[:3], start=1):
        writer.add(record)
        assert len(reader.saves()) == count
        assert reader.saved(record.key) == [record]


def test_a_store_that_refuses_is_named(server: ObjectServer) -> None:
    server.deny = True
    store = Store("s3://bucket/store")
    with pytest.raises(StoreError, match="the store s3://bucket/store cannot be written"):
        store.prepare()
    with pytest.raises(StoreError, match="the store s3://bucket/store cannot be read"):
        store.loads()


def test_a_bucket_that_is_not_there_is_not_made(server: ObjectServer) -> None:
    with pytest.raises(StoreError, match="the store s3://mistyped/store cannot be written"):
        Store("s3://mistyped/store").prepare()
    assert not Store("s3://mistyped/store").exists()
