"""Rule: whoever does it again gets the same: the same evidence, the same wheel."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from helpers.builders import FAQ_SCENARIOS
from matrix.catalogue import releases
from matrix.lane.sources import FetchedSources
from matrix.store.store import Store

ROOT = Path(__file__).parents[2]
RELEASES = ("1.11", "2.17.1")
CHANGING = {"provenance": {"recorded_at", "seconds"}, "file_digest": True}
"""All that two runs on one machine may differ in. Evidence names no host.

The bytes of a file hold addresses where a release pickles tensors in its extra state:
PyTorch names their storages by them. What the file means has a digest of its own.
"""


def a_clean_run(folder: Path, seed: str) -> Path:
    """Save and load with a store, cache, home, temporary folder and hash seed of its own."""
    places = {name: folder / name.lower() for name in ("HOME", "TMPDIR", "TE_MATRIX_CACHE")}
    for place in places.values():
        place.mkdir(parents=True)
    for name in RELEASES:
        source = FetchedSources().get(releases.load()[name])
        shutil.copytree(source, places["TE_MATRIX_CACHE"] / "sources" / source.name)
    command = [sys.executable, "-m", "matrix", "run", "--releases", ",".join(RELEASES)]
    command += ["--scenario", FAQ_SCENARIOS, "--variant", "plain,trusted", "--today", "2026-11-24"]
    done = subprocess.run(
        [*command, "--store", "store", "--report", "report", "--offline"],
        cwd=folder,
        env={**os.environ, **{k: str(v) for k, v in places.items()}, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def evidence(folder: Path) -> list[dict[str, Any]]:
    """Every record of a run's store but for what changes, in order."""
    store = Store(folder / "store")
    assert store.attempts() == {}
    kinds = (*store.saves().values(), *store.loads().values())
    return [
        record.model_dump(mode="json", exclude=CHANGING) for records in kinds for record in records
    ]


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_two_clean_runs_give_the_same_evidence(tmp_path: Path) -> None:
    one = a_clean_run(tmp_path / "one", "1")
    other = a_clean_run(tmp_path / "a" / "longer" / "path", "2")
    assert evidence(one) == evidence(other)
    assert len(evidence(one)) == 6 + 6 * 7  # a save, three loads and four more controls each
    for kind in ("saves", "loads"):
        assert names(one / "store" / kind) == names(other / "store" / kind)
    reports = [folder / "report" / "report.json" for folder in (one, other)]
    first, second = (json.loads(path.read_text()) for path in reports)
    assert first == second


@pytest.mark.parametrize("epoch", [None, "1700000000"])
def test_two_builds_give_the_same_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: str | None
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    if epoch:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    digests = set()
    for place in ("one", "a/longer/path"):
        root = tmp_path / place
        for name in ("matrix", "containers", "fixtures"):
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, root / name, ignore=leave, copy_function=shutil.copyfile)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(ROOT / name, root / name)
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"]
        subprocess.run(command, cwd=root, check=True, capture_output=True)
        (wheel,) = (root / "out").glob("*.whl")
        digests.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
        assert "matrix/py.typed" in zipfile.ZipFile(wheel).namelist()
    assert len(digests) == 1
