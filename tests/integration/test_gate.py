"""Rule: the gate stops a planted regression, and lets it pass when it is put right."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from matrix.catalogue import releases
from matrix.errors import ExitCode
from matrix.lane.sources import FetchedSources

BASE = "pytorch/module/base.py"
LOADING = r"(    def set_extra_state\(self, state: torch.Tensor\) -> None:\n        \"\"\"[^\n]*\n)"
RESET = "        if isinstance(state, io.BytesIO): return\n"
"""Drops the state of 1.x checkpoints, and leaves the release's own alone."""

CELLS = ["--saved-by", "1.11,2.17.1", "--loaded-by", "2.17.1", "--variant", "trusted"]


def te_matrix(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "matrix", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_planted_regression_is_stopped_until_it_is_put_right(broken_release, tmp_path) -> None:
    qualified = te_matrix(tmp_path, "run", *CELLS, "--store", "last", "--report", "last")
    assert qualified.returncode == 0, qualified.stdout + qualified.stderr
    root = broken_release(BASE, LOADING, r"\1" + RESET)
    candidate = ["--candidate", str(root)]
    ran = te_matrix(tmp_path, "run", *CELLS, *candidate, "--no-gate")
    assert ran.returncode == 0, ran.stdout + ran.stderr

    for policy in ([], ["--policy", "no-regression", "--baseline", "last/report.json"]):
        stopped = te_matrix(tmp_path, "gate", *policy, "--junit", "junit.xml")
        assert stopped.returncode == ExitCode.DEVIATES, stopped.stdout
        assert "defaults" in stopped.stdout
        assert "<failure" in (tmp_path / "junit.xml").read_text()
    name = next(
        row["name"]
        for row in json.loads((tmp_path / "te-matrix-report" / "report.json").read_text())[
            "releases"
        ]
        if row["candidate"]
    )
    diff = te_matrix(tmp_path, "diff", "last", "te-matrix-store", "--release", name)
    assert diff.returncode == ExitCode.DEVIATES, diff.stdout + diff.stderr
    assert "regression" in diff.stdout
    assert f"1.11 -> {name}" in diff.stdout

    source = FetchedSources().get(releases.load()["2.17.1"])
    shutil.copy(source / "transformer_engine" / BASE, root / "transformer_engine" / BASE)
    again = te_matrix(tmp_path, "run", *CELLS, *candidate, "--no-gate")
    assert again.returncode == 0, again.stdout + again.stderr
    for policy in ([], ["--policy", "no-regression", "--baseline", "last"]):
        passed = te_matrix(tmp_path, "gate", *policy)
        assert passed.returncode == 0, passed.stdout


def test_the_plugin_costs_other_test_runs_nothing(tmp_path) -> None:
    """Where it is installed, an ordinary run imports the plugin's own file and no more."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_mine():\n"
        "    ours = {name for name in sys.modules if name.partition('.')[0] == 'matrix'}\n"
        "    assert ours == {'matrix', 'matrix.gate', 'matrix.gate.plugin'}\n"
        "    assert 'pydantic' not in sys.modules\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
