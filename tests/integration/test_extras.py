"""Rule: what an extra is for asks for it, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def without(package: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.modules['{package}'] = None; from matrix.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_reading_what_containers_did_needs_no_docker_sdk(tmp_path: Path) -> None:
    done = without("docker", tmp_path, "plan", "--runner", "docker", "--releases", "1.11")
    assert done.returncode == 0, done.stderr


def test_running_containers_does(tmp_path: Path) -> None:
    done = without("docker", tmp_path, "run", "--runner", "docker", "--lane", "cpu")
    assert done.returncode == 2
    assert "the docker runner needs the Python package docker" in done.stderr


def test_a_run_needs_no_dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path))
    done = without("distributed", tmp_path, "run", "--offline", "--phase", "save")
    assert done.returncode == 0, done.stderr
    assert "0 measured, the rest was known" in done.stdout


def test_running_on_a_cluster_does(tmp_path: Path) -> None:
    done = without("distributed", tmp_path, "run", "--scheduler", "local")
    assert done.returncode == 2
    assert "--scheduler needs the Python package distributed" in done.stderr


def test_what_is_no_scheduler_is_said(tmp_path: Path) -> None:
    done = without("docker", tmp_path, "run", "--scheduler", "nonsense")
    assert done.returncode == 2
    assert "--scheduler nonsense is no scheduler" in done.stderr
