"""Rule: a checkpoint can do nothing in its container but load, and the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from matrix.catalogue.words import RunnerName
from matrix.plan.cells import Cell
from matrix.plan.remaining import Scope

HOSTILE = """
import ctypes, os, socket, sys, time

def attempt(what, do):
    try:
        do()
    except BaseException as error:
        said = "refused: %s %s" % (type(error).__name__, error)
    else:
        said = "DONE"
    print("hostile", what.replace(" ", "-"), said, file=sys.stderr, flush=True)

def mount():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "mount")

def fork_without_end():
    while True:
        if os.fork() == 0:
            while True:
                try:
                    os.fork()
                except OSError:
                    time.sleep(3600)

def fill(folder):
    with open(folder + "/filled", "wb") as stream:
        while True:
            stream.write(bytes(1 << 20))

gateway = ("172.17.0.1", 9)
attempt("network", lambda: socket.create_connection(gateway, timeout=3))
attempt("worker", lambda: open("/te-matrix/worker/__main__.py", "ab"))
attempt("checkpoints", lambda: open("/te-matrix/checkpoints/new", "wb"))
attempt("root", lambda: open("/new", "wb"))
attempt("system", lambda: open("/etc/passwd", "ab"))
attempt("mount", mount)
attempt("superuser", lambda: os.setuid(0))
attempt("fork", fork_without_end)
attempt("temporary", lambda: fill("/tmp"))
attempt("output", lambda: fill("/te-matrix-output"))
attempt("shared memory", lambda: fill("/dev/shm"))
"""


class Hostile:
    def __reduce__(self) -> Any:
        return exec, (HOSTILE, {})


def plant(bench: Any, made: Any, release: str, folder: Path) -> None:
    """Put a hostile checkpoint in the place of what a release saved."""
    index = bench.run(made, scope=Scope(saves=False, loads=False)).index
    save = index.save("autocast", made.releases[release]).records[0]
    path = folder / "hostile.pt"
    torch.save({"hostile": Hostile()}, path)
    digest = bench.store.add_checkpoint(path)
    for old in (folder / "store" / "saves").glob(f"{save.key}*"):
        old.unlink()
    bench.store.add(save.model_copy(update={"file_digest": digest}))


def test_everything_is_refused_and_the_next_cells_are_as_ever(bench, make_host, tmp_path) -> None:
    made = bench.plan(
        ["1.11", "2.16", "2.17.1"], ["2.17.1"], variants=("trusted",), runner=RunnerName.DOCKER
    )
    bench.run(made, host=make_host(), scope=Scope(loads=False))
    plant(bench, made, "1.11", tmp_path)
    host = make_host(pids=64, scratch="64m", memory="4g")
    bench.run(made, host=host)

    log = (tmp_path / "logs" / "2.17.1.log").read_text()
    said = dict(line.split(" ", 2)[1:] for line in log.splitlines() if line.startswith("hostile"))
    expected = {
        "network": "OSError [Errno 101]",
        "worker": "PermissionError [Errno 13]",
        "checkpoints": "OSError [Errno 30]",
        "root": "OSError [Errno 30]",
        "system": "PermissionError [Errno 13]",
        "mount": "PermissionError [Errno 1]",
        "superuser": "PermissionError [Errno 1]",
        "fork": "BlockingIOError [Errno 11]",
        "temporary": "OSError [Errno 28]",
        "output": "OSError [Errno 28]",
        "shared-memory": "OSError [Errno 28]",
    }
    assert said.keys() == expected.keys()
    for what, error in expected.items():
        assert said[what].startswith(f"refused: {error}"), (what, said[what])

    assert host.started == 1
    # Recorded evidence of the same cell has loaded another file, and would disagree.
    judged = bench.judge(made, with_recorded=False)
    verdicts = {verdict.cell: verdict for verdict in judged.verdicts}
    hit = verdicts.pop(Cell("autocast", "trusted", "1.11", "2.17.1"))
    assert (hit.outcome, hit.unexpected) == ("error", ("hostile",))
    assert {verdict.outcome for verdict in verdicts.values()} == {"loaded"}
