"""Rule: import-linter refuses an import upwards, and a circle within a room, by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the package and its contracts."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "matrix", tmp_path / "matrix", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(folder: Path) -> tuple[int, list[str]]:
    """Return the exit code, and the names of the contracts that are broken."""
    command = [sys.executable, "-c", LINT, "--no-cache"]
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    return done.returncode, [line[: -len(" BROKEN")] for line in lines if line.endswith(" BROKEN")]


def plant(file: Path, line: str) -> None:
    with file.open("a") as stream:
        stream.write(f"\n{line}\n")


def test_the_package_keeps_its_contracts(copy: Path) -> None:
    assert lint_imports(copy) == (0, [])


def test_an_import_upwards_is_refused(copy: Path) -> None:
    plant(copy / "matrix" / "catalogue" / "releases.py", "from matrix import cli")
    status, broken = lint_imports(copy)
    assert status == 1
    assert "Rooms import downwards only" in broken


def test_a_circle_within_a_room_is_refused(copy: Path) -> None:
    plant(copy / "matrix" / "catalogue" / "tables.py", "from matrix.catalogue import faq")
    assert lint_imports(copy) == (1, ["No circle between the modules of a room"])
