"""A unit test that starts a process is no unit test."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import matrix.worker
from matrix.doctor import remapping


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **_options: object) -> None:
        raise AssertionError(f"a unit test started a process: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)


@pytest.fixture
def not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out that `remap` asks a release's own code, which the integration tests do."""
    monkeypatch.setattr(remapping, "verify", lambda *_arguments: (True, "not tried here"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for what a test writes."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def worker() -> Iterator[Any]:
    """Import the worker's modules anew."""
    yield lambda name: importlib.import_module(f"matrix.worker.{name}")
    for name in [name for name in sys.modules if name.startswith("matrix.worker.")]:
        del sys.modules[name]
        # Else `from matrix.worker import ...` would find the module of the test before.
        vars(matrix.worker).pop(name.removeprefix("matrix.worker."), None)


@pytest.fixture
def extension(worker: Any) -> Iterator[Any]:
    import torch

    before = getattr(torch.ops, "tex_ts", None)
    load = worker("standin.extension").load
    yield functools.partial(load, "transformer_engine_torch")
    torch.ops.tex_ts = before
    sys.modules.pop("transformer_engine_torch", None)
