"""Rule: however a run ends, nothing of it is left after the next start or run twice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.running import TEST_BASE
from matrix.lane.containers import engine

RELEASES = "1.11-1.13,2.3"


class Running:
    """``te-matrix run`` in a process of its own, on a store in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: Any = None

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "matrix", "run", "--runner", "docker", "--lane", "cpu"]
        command += ["--base", TEST_BASE, "--allow-unpinned", "--releases", RELEASES]
        command += ["--variant", "plain", "--report", str(self._folder / "report")]
        self._process = subprocess.Popen(
            [*command, "--store", str(self._folder / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def await_loads(self, count: int) -> None:
        """Wait until so many loads are kept."""
        deadline = time.monotonic() + 120
        while len(self.loads()) < count:
            assert self._process.poll() is None, self._process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def loads(self) -> set[Path]:
        """Return the records of loads that are kept."""
        return set((self._folder / "store" / "loads").glob("*.json"))

    def kept(self) -> dict[Path, int]:
        """Return every record that is kept, with the time it was written."""
        records = (self._folder / "store").glob("[sl]*s/*.json")
        return {path: path.stat().st_mtime_ns for path in records}

    def signal(self, number: int) -> int:
        """Send a signal and return the exit status."""
        self._process.send_signal(number)
        return self.finish()[0]

    def finish(self) -> tuple[int, int]:
        """Wait for the end; return the exit status and how many were measured."""
        output, _ = self._process.communicate(timeout=300)
        measured = re.search(r"^(\d+) measured", output, re.MULTILINE)
        return self._process.returncode, int(measured.group(1)) if measured else -1

    def infra(self) -> int:
        """Return how many cells of the report have no outcome through a fault of ours."""
        report = json.loads((self._folder / "report" / "report.json").read_text())
        return int(report["totals"]["infra"])


@pytest.fixture
def running(client: Any, tmp_path: Path) -> Running:
    return Running(tmp_path)


def ours(client: Any) -> list[str]:
    """Return what of any run is on the engine."""
    found = client.containers.list(all=True, filters={"label": engine.OWNER}, ignore_removed=True)
    return [it.name for it in (*found, *client.volumes.list(filters={"label": engine.OWNER}))]


def finishes_the_rest(running: Running, client: Any) -> None:
    before = running.kept()
    running.start()
    status, measured = running.finish()
    after = running.kept()
    assert (status, running.infra()) == (0, 0)
    assert measured == len(after) - len(before)
    assert {path: after[path] for path in before} == before
    assert ours(client) == []


def test_kill_9(running: Running, client: Any) -> None:
    running.start()
    running.await_loads(2)
    assert ours(client) != []
    assert running.signal(signal.SIGKILL) == -signal.SIGKILL
    finishes_the_rest(running, client)


def test_ctrl_c(running: Running, client: Any, interruptible: None) -> None:
    running.start()
    running.await_loads(2)
    assert running.signal(signal.SIGINT) == 130
    assert ours(client) == []
    finishes_the_rest(running, client)


@pytest.fixture
def restart_engine() -> Callable[[], None]:
    """Return a function that restarts the engine, where the tests' own script started it."""
    folder = Path(os.environ.get("TE_MATRIX_TEST_ENGINE", "/nowhere"))
    if not (folder / "dockerd.pid").is_file():
        pytest.skip("the engine is not ours to restart (TE_MATRIX_TEST_ENGINE names none)")
    script = Path(__file__).parent / "engine.sh"

    def restart() -> None:
        for verb in ("stop", "start"):
            subprocess.run(["bash", str(script), verb, str(folder)], check=True)

    return restart


def test_the_engine_restarts_in_the_middle(
    running: Running, client: Any, restart_engine: Callable[[], None]
) -> None:
    running.start()
    running.await_loads(2)
    restart_engine()
    status, _ = running.finish()
    # Each release's process that was there is lost, and costs the cell that it was at.
    assert status in (0, 4)
    assert running.infra() <= 2 * 4
    finishes_the_rest(running, client)
