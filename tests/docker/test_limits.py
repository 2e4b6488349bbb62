"""Rule: what a container may use is limited, and one that ends or overruns is replaced."""

from __future__ import annotations

import pytest

from helpers.running import broken_copy
from matrix.catalogue.words import RunnerName
from matrix.errors import ExitCode
from matrix.plan.cells import Cell

SAVERS = 3  # 1.11, 2.17.1, and the candidate for its controls
BASE = "pytorch/module/base.py"
LOADING = r"(    def set_extra_state\(self, state: torch.Tensor\) -> None:\n        \"\"\"[^\n]*\n)"


def run_candidate(bench, root, host, timeout):
    """Load 1.11 and 2.17.1 with a candidate that misbehaves on what 1.x saved."""
    name = bench.candidate(root)
    made = bench.plan(["1.11", "2.17.1"], [name], variants=("trusted",), runner=RunnerName.DOCKER)
    bench.run(made, host=host, timeout=timeout)
    verdicts = {verdict.cell: verdict for verdict in bench.judge(made).verdicts}
    hit = verdicts.pop(Cell("autocast", "trusted", "1.11", name))
    assert {verdict.verdict for verdict in verdicts.values()} == {"conforms"}
    return hit


def only_1_11(action: str) -> str:
    return rf"\1        if isinstance(state, io.BytesIO):\n            {action}\n"


HANG_THE_WORKER = "import signal; os.kill(os.getppid(), signal.SIGSTOP); os.kill(os.getpid(), 19)"


@pytest.mark.parametrize(
    ("action", "named", "loading"),
    [
        ("bytearray(3 << 30)", "killed by signal 9", 1),
        ("import time; time.sleep(600)", "no answer within 15", 1),
        (HANG_THE_WORKER, "is lost: it did not answer: timed out", 2),
    ],
    ids=["memory", "time", "the worker itself hangs"],
)
def test_the_cell_at_fault_is_infra(
    bench, make_host, tmp_path, monkeypatch, action, named, loading
) -> None:
    monkeypatch.setattr("matrix.lane.process.GRACE", 5)
    root = broken_copy(tmp_path / "candidate", BASE, LOADING, only_1_11(action))
    host = make_host(memory="2g")
    hit = run_candidate(bench, root, host, timeout=15.0)
    assert hit.verdict == "infra"
    assert named in hit.note
    assert host.started == SAVERS + loading


def test_a_container_that_is_removed_is_replaced(bench, make_host, client) -> None:
    made = bench.plan(
        ["1.11", "2.17.1"], ["2.17.1"], variants=("trusted",), runner=RunnerName.DOCKER
    )
    host = make_host()
    opening, killed = host.open, []

    def open_and_kill(*words):
        process = opening(*words)
        if not killed:
            asking = process.ask

            def ask(operation, *more, **fields):
                if operation == "load" and not killed:
                    killed.append(process.context._container.container)
                    killed[0].kill()
                return asking(operation, *more, **fields)

            process.ask = ask
        return process

    host.open = open_and_kill
    bench.run(made, host=host)
    judged = bench.judge(made, with_recorded=False)
    # Two savers, the loader, and the loader again.
    assert host.started == 4
    assert sorted(v.verdict for v in judged.verdicts) == ["conforms", "infra"]
    (hit,) = [v for v in judged.verdicts if v.verdict == "infra"]
    assert "is lost" in hit.note
    assert "exit status 137" in hit.note
    assert judged.exit_code == ExitCode.INFRA
    # Only infra is tried again.
    assert bench.run(made, host=make_host()).measured == 1
    assert bench.judge(made).totals["infra"] == 0
