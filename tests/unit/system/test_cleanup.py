"""Rule: what a killed process left is removed, and nothing of anybody who is at work."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from matrix.store.store import Store
from matrix.system import cleanup
from matrix.system.cleanup import PART, SCRATCH

NOBODY = 4_194_305  # above the largest process id of Linux
NODE = platform.node()


HERE = cleanup._namespace()


def left(folder: Path, kind: str, where: str, pid: int, began: int = 1) -> Path:
    path = folder / f"{kind}{where}-{pid}-{began}-x"
    path.mkdir() if kind == SCRATCH else path.write_text("")
    if kind == SCRATCH:
        (path / "checkpoint.pt").write_text("")
    return path


@pytest.mark.parametrize("kind", [PART, SCRATCH])
def test_only_what_the_dead_of_this_machine_left_goes(tmp_path: Path, kind: str) -> None:
    gone = [
        left(tmp_path, kind, HERE, NOBODY),
        left(tmp_path, kind, HERE, os.getpid()),  # an older process with the same number
    ]
    kept = [
        left(tmp_path, kind, HERE, os.getpid(), cleanup._began(os.getpid())),
        left(tmp_path, kind, HERE, 1, cleanup._began(1)),
        left(tmp_path, kind, "elsewhere-0123456789ab", NOBODY),
        left(tmp_path, kind, f"{NODE}-0123456789ab", NOBODY),  # another container or boot
    ]
    other = tmp_path / f"mine-{NOBODY}-1-x"
    other.write_text("")
    assert sorted(cleanup.sweep(tmp_path, kind)) == sorted(path.name for path in gone)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, other])


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert cleanup.sweep(tmp_path / "none", PART) == []


def test_a_store_is_swept_before_it_is_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    parts = [left(folder, PART, HERE, NOBODY) for folder in (tmp_path, tmp_path / "loads")]
    store.prepare()
    assert not any(part.exists() for part in parts)


def test_a_scratch_folder_bears_the_name_of_its_process() -> None:
    with cleanup.scratch() as folder:
        assert f"{SCRATCH}{HERE}-{os.getpid()}-" in folder


def test_what_a_process_makes_is_not_swept_while_it_runs(tmp_path: Path) -> None:
    made = tmp_path / f"{cleanup.mark(PART)}x"
    made.write_text("")
    assert cleanup.sweep(tmp_path, PART) == []
    assert made.exists()


def test_a_label_tells_whether_its_process_may_run() -> None:
    own = cleanup.process_label()
    where, pid, began = own.rsplit("/", 2)
    assert cleanup.may_be_running(own)
    assert cleanup.may_be_running(f"{NODE}-0123456789ab/{NOBODY}/1"), "of another container"
    assert not cleanup.may_be_running(f"{where}/{NOBODY}/{began}")
    assert not cleanup.may_be_running(f"{where}/{pid}/1"), "an older one with this number"
