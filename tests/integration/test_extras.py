"""Rule: what an extra is for asks for it, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def without_docker(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    script = "import sys; sys.modules['docker'] = None; from matrix.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_reading_what_containers_did_needs_no_docker_sdk(tmp_path: Path) -> None:
    done = without_docker(tmp_path, "plan", "--runner", "docker", "--releases", "1.11")
    assert done.returncode == 0, done.stderr


def test_running_containers_does(tmp_path: Path) -> None:
    done = without_docker(tmp_path, "run", "--runner", "docker", "--lane", "cpu")
    assert done.returncode == 2
    assert "the docker runner needs the Python package docker" in done.stderr
