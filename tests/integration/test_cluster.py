"""Rule: a cluster measures what one process does, whatever becomes of its workers."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from pathlib import Path

import psutil
from dask.utils import key_split
from distributed import Client, LocalCluster

from helpers.running import Bench
from matrix.catalogue.words import Lane
from matrix.lane.cluster.executor import DaskExecutor
from matrix.lane.environment import WORKER
from matrix.lane.execution import execute
from matrix.lane.local import LocalRunner
from matrix.lane.run import Run, RunOptions
from matrix.lane.sources import FetchedSources
from matrix.store import recorded
from matrix.store.store import Store
from matrix.system.progress import Progress

BASE = "pytorch/module/base.py"
LOADING = r"(    def set_extra_state\(self, state: torch.Tensor\) -> None:\n        \"\"\"[^\n]*\n)"
SLOW = r"\1        import time; time.sleep(1.5)\n"


def opening(logs: str) -> tuple[FetchedSources, LocalRunner]:
    return FetchedSources(), LocalRunner(Path(logs))


class Watching(Progress):
    """Kills the worker that is at a load by ``victim``, once."""

    def __init__(self, client: Client, victim: str, logs: Path) -> None:
        self.client, self.victim, self.logs = client, victim, logs
        self.executor: DaskExecutor | None = None
        self.killed: str | None = None
        self.shown: list[str] = []
        self.serving: list[psutil.Process] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self.killed is None:
            for key, address in list(self.executor.begun.items()) if self.executor else []:
                if "plain" in key and key.partition("→")[2].startswith(self.victim):
                    time.sleep(0.2)
                    self.shown = list(self.client.processing()[address])
                    self.serving = fork_servers(self.logs)
                    self.killed = address
                    os.kill(self.client.run(os.getpid)[address], signal.SIGKILL)
                    return
            time.sleep(0.01)


def fork_servers(logs: Path) -> list[psutil.Process]:
    """Return those that write to a folder of logs; other tests have theirs at the same time."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:3] == [str(WORKER), "forkserver"]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if str(logs / "host.log") in [file.path for file in process.open_files()]:
                    found.append(process)
    return found


def test_three_workers_one_killed_and_a_store_on_s3(
    bench: Bench, broken_release, server, tmp_path
) -> None:
    name = bench.candidate(broken_release(BASE, LOADING, SLOW))
    made = bench.plan(["1.11", "2.17.1"], ["2.17.1", name], variants=("plain", "trusted"))
    bench.run(made)
    alone = bench.report(made)
    logs = tmp_path / "logs"

    bench.store = Store("s3://bucket/store")
    with (
        LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        watching = Watching(client, name.replace("-", "_"), logs)
        archive = recorded.evidence(Lane.CPU)
        options = RunOptions(jobs=2, timeout=60)
        run = Run(made, bench.store, FetchedSources(), options, archive, watching)
        watching.executor = DaskExecutor(client, functools.partial(opening, str(logs)))
        execute(run, watching.executor)
        # The dashboard shows cells by name: what it calls a task is this part of its key.
        shown = {key_split(key) for key in watching.shown}
        assert any(f"→{name.replace('-', '_')}" in label for label in shown)
    assert bench.report(made) == alone
    assert watching.killed and watching.serving
    attempts = [a for found in bench.store.attempts().values() for a in found]
    assert [a.message for a in attempts] == [
        f"worker {watching.killed} was lost while it was at this"
    ]
    kept = [*bench.store.saves().values(), *bench.store.loads().values()]
    assert run.measured == len(kept) == sum(len(records) for records in kept)
    deadline = time.monotonic() + 30
    while fork_servers(logs) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert fork_servers(logs) == []
