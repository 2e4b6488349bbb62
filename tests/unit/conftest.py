"""A unit test that starts a process is no unit test."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import matrix

WORKER = Path(matrix.__file__).parent / "worker"


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **_options: object) -> None:
        raise AssertionError(f"a unit test started a process: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)


@pytest.fixture
def worker() -> Iterator[Any]:
    """Import the worker's modules under the name they run by."""
    sys.path.insert(0, str(WORKER.parent))
    try:
        yield lambda name: importlib.import_module(f"worker.{name}")
    finally:
        sys.path.remove(str(WORKER.parent))
        for name in [name for name in sys.modules if name.split(".")[0] == "worker"]:
            del sys.modules[name]


@pytest.fixture
def extension(worker: Any) -> Iterator[Any]:
    import torch

    common = worker("standin.common")
    before = getattr(torch.ops, "tex_ts", None)
    yield lambda version: common.load_extension("transformer_engine_torch", version)
    torch.ops.tex_ts = before
    sys.modules.pop("transformer_engine_torch", None)
