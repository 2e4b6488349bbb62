"""Rule: what goes wrong costs its own cell only, and is named as what it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest

from helpers.builders import FAQ_SCENARIOS
from matrix.errors import ExitCode
from matrix.lane.local import LocalRunner
from matrix.lane.protocol import SaveAnswer
from matrix.lane.sources import FetchedSources
from matrix.plan.cells import Cell

BASE = "pytorch/module/base.py"
LOADING = r"(    def set_extra_state\(self, state: torch.Tensor\) -> None:\n        \"\"\"[^\n]*\n)"
SAVED_BY_OLD = "        if isinstance(state, io.BytesIO):\n            {}\n"


def only_1_11(action: str) -> str:
    """Change the loader for 1.x checkpoints only, so that its own saves still load."""
    return r"\1" + SAVED_BY_OLD.format(action)


def run_candidate(bench, root, *, timeout=60.0):
    name = bench.candidate(root)
    made = bench.plan(["1.11", "2.17.1"], [name, "2.17.1"], variants=("trusted",))
    bench.run(made, timeout=timeout)
    judged = bench.judge(made)
    verdicts = {verdict.cell: verdict for verdict in judged.verdicts}
    hit = verdicts.pop(Cell("autocast", "trusted", "1.11", name))
    assert {verdict.verdict for verdict in verdicts.values()} == {"conforms"}
    return judged, hit


def test_an_unchanged_candidate_behaves_like_its_release(bench, broken_release) -> None:
    judged, hit = run_candidate(bench, broken_release(BASE, r"\A", "# a comment\n"))
    assert (hit.verdict, judged.exit_code) == ("conforms", ExitCode.OK)


@pytest.mark.parametrize(
    ("action", "named"),
    [
        ("os.abort()", "killed by signal 6"),
        ("os._exit(0)", "exit status 0"),
        ("os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("import time; time.sleep(60)", "no answer within 6"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import ctypes; ctypes.string_at(0)", "killed by signal 11"),
        ("import resource; resource.setrlimit(9, (0, 0)); bytearray(1 << 30)", "MemoryError"),
    ],
)
def test_a_crash_or_a_hang_is_infra_for_its_cell(bench, broken_release, action, named) -> None:
    root = broken_release(BASE, LOADING, only_1_11(action))
    judged, hit = run_candidate(bench, root, timeout=6.0)
    assert hit.verdict == "infra"
    assert named in hit.note
    assert judged.exit_code == ExitCode.INFRA


def test_a_hanging_cell_does_not_outlive_the_harness(bench, broken_release, tmp_path) -> None:
    root = broken_release(BASE, LOADING, r"\1        import time; time.sleep(600)\n")
    name = bench.candidate(root)
    release = bench.known[name]
    made = bench.plan([release.name], [release.name])
    recipe, path = made.scenarios["autocast"], tmp_path / "checkpoint.pt"
    with LocalRunner(tmp_path / "logs") as host:
        process = host.open(release, FetchedSources().get(release), "cpu")
        assert isinstance(process.save(recipe, path, 60), SaveAnswer)
        process.enter(recipe, 60)
        host_process = psutil.Process(host._process.pid)
        resting = len(host_process.children(recursive=True))
        fields = {"path": str(path), "rewrite": None, "opt_in": None, "loads": 1}
        load = {"op": "load", "id": 9, "timeout": 600, "scenario": recipe.request, **fields}
        process._wire.send(load, 5)
        while len(family := host_process.children(recursive=True)) <= resting:
            time.sleep(0.05)
        process.close()
        _gone, alive = psutil.wait_procs(family, timeout=15)
        assert alive == []


SWALLOWED = """try:
                tex.fused_attn_fwd()
            except Exception:
                pass"""


@pytest.mark.parametrize(
    "action",
    [
        "tex.fused_attn_fwd()",
        SWALLOWED,
        "tex.fp8_transpose('text', tex.DType.kByte, out=None)",
    ],
    ids=["raised", "swallowed", "an error of the stand-in"],
)
def test_what_is_not_emulated_is_inconclusive(bench, broken_release, action) -> None:
    begin = "import transformer_engine_torch as tex\n            "
    root = broken_release(BASE, LOADING, only_1_11(begin + action))
    judged, hit = run_candidate(bench, root)
    assert hit.verdict == "inconclusive"
    assert "not emulated" in hit.note
    assert judged.exit_code == ExitCode.INCOMPLETE


def test_an_exception_of_the_release_is_an_error(bench, broken_release) -> None:
    root = broken_release(BASE, LOADING, only_1_11('raise ValueError("no")'))
    judged, hit = run_candidate(bench, root)
    assert (hit.outcome, hit.verdict) == ("error", "deviates")
    assert (hit.load.stage, hit.error.type) == ("load_state_dict", "ValueError")
    assert judged.exit_code == ExitCode.DEVIATES


def test_a_release_that_cannot_be_imported_is_infra(bench, broken_release) -> None:
    root = broken_release(BASE, r"\A", "raise ImportError('broken')\n")
    name = bench.candidate(root)
    made = bench.plan(["1.11"], [name, "2.17.1"], variants=("trusted",))
    bench.run(made)
    verdicts = {v.cell.loaded_by: v for v in bench.judge(made).verdicts}
    assert verdicts[name].verdict == "infra"
    assert "cannot be imported: ImportError: broken" in verdicts[name].note
    assert verdicts[name].lacking == name
    assert verdicts["2.17.1"].verdict == "conforms"


def test_a_release_that_cannot_build_the_model_is_infra(bench, broken_release) -> None:
    file = "pytorch/attention/multi_head_attention.py"
    root = broken_release(file, r"(        super\(\).__init__\(\)\n)", r"\1        1 / 0\n")
    name = bench.candidate(root)
    made = bench.plan(["1.11"], [name], variants=("trusted",))
    bench.run(made)
    (verdict,) = bench.judge(made).verdicts
    assert verdict.verdict == "infra"
    assert "without any checkpoint: ZeroDivisionError" in verdict.note


BUILDING = ("pytorch/attention/multi_head_attention.py", r"(        super\(\).__init__\(\)\n)")
GAP = "        import transformer_engine_torch as tex; tex.fused_attn_fwd()\n"


def test_a_release_that_needs_the_missing_to_be_built_is_inconclusive(
    bench, broken_release
) -> None:
    name = bench.candidate(broken_release(*BUILDING, r"\1" + GAP))
    made = bench.plan(["1.11"], [name], variants=("trusted",))
    bench.run(made)
    (verdict,) = bench.judge(made).verdicts
    assert verdict.verdict == "inconclusive"


def test_a_release_that_needs_the_missing_to_save_is_inconclusive(bench, broken_release) -> None:
    pattern = r"(\n    def get_extra_state\(self\) -> torch.Tensor:\n        \"\"\"[^\n]*\n)"
    name = bench.candidate(broken_release(BASE, pattern, r"\1" + GAP))
    made = bench.plan([name], ["2.17.1"], variants=("trusted",))
    bench.run(made)
    (verdict,) = bench.judge(made).verdicts
    assert verdict.verdict == "inconclusive"


def test_a_save_that_is_not_what_was_held_is_spoilt(bench, broken_release) -> None:
    pattern = r"(\n    def get_extra_state\(self\) -> torch.Tensor:\n        \"\"\"[^\n]*\n)"
    drop = r"\1        return torch.empty(0, dtype=torch.uint8)\n"
    name = bench.candidate(broken_release(BASE, pattern, drop))
    made = bench.plan([name], ["2.17.1"], variants=("trusted",))
    bench.run(made)
    judged = bench.judge(made)
    (verdict,) = judged.verdicts
    assert (verdict.save.outcome, verdict.verdict) == ("spoilt", "deviates")
    assert "core_attention._extra_state: scale is not what forward.scale was saved with" in (
        verdict.note
    )
    assert judged.exit_code == ExitCode.DEVIATES


def test_a_silent_reset_is_seen(bench, broken_release) -> None:
    root = broken_release(BASE, LOADING, only_1_11("return"))
    judged, hit = run_candidate(bench, root)
    assert (hit.outcome, hit.verdict) == ("defaults", "deviates")
    assert judged.exit_code == ExitCode.DEVIATES


def test_state_of_one_cell_never_reaches_the_next(bench, broken_release) -> None:
    """The first load leaves a mark in the process; no later load may find it."""
    mark = (
        "        from transformer_engine.pytorch import constants\n"
        "        if isinstance(state, io.BytesIO): constants.MARK = 1\n"
        "        elif hasattr(constants, 'MARK'): raise RuntimeError('leak')\n"
    )
    root = broken_release(BASE, LOADING, r"\1" + mark)
    name = bench.candidate(root)
    made = bench.plan(["1.11", "2.17.1"], [name], variants=("trusted",))
    bench.run(made)
    assert {verdict.verdict for verdict in bench.judge(made).verdicts} == {"conforms"}


def test_an_interrupted_run_goes_on_where_it_was(tmp_path, interruptible) -> None:
    """Ctrl-C in the middle: exit code 130, and the next run does the rest."""
    command = [sys.executable, "-m", "matrix", "run", "--releases", "1.11-1.13,2.3-2.5"]
    command += ["--scenario", FAQ_SCENARIOS, "--variant", "plain"]
    command += ["--store", str(tmp_path / "store"), "--report", str(tmp_path / "report")]
    loads = tmp_path / "store" / "loads"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 240
    while len(list(loads.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    finished = {path.name: path.stat().st_mtime_ns for path in loads.glob("*.json")}
    assert process.returncode == 130, output
    assert b"interrupted; what is finished is kept" in output
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert finished.items() <= {p.name: p.stat().st_mtime_ns for p in loads.glob("*.json")}.items()
    assert len(list(loads.glob("*.json"))) > len(finished)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["evidence"] == {"live": 6 * 6 * 3, "recorded": 0, "without": 0}


def test_a_checkpoint_that_changed_costs_its_cells_only(bench, tmp_path) -> None:
    bench.run(bench.plan(["1.11", "2.1"], ["2.5"]))
    saves = [save for records in bench.store.saves().values() for save in records]
    (save,) = [save for save in saves if save.release == "2.1"]
    path = tmp_path / "store" / "checkpoints" / f"{save.file_digest}.pt"
    path.write_bytes(path.read_bytes() + b"x")
    made = bench.plan(["1.11", "2.1"], ["2.4"])
    bench.run(made)
    verdicts = {v.cell.saved_by: v for v in bench.judge(made).verdicts}
    assert verdicts["1.11"].verdict == "conforms"
    assert verdicts["2.1"].verdict == "infra"
    assert "does not match its digest" in verdicts["2.1"].note
