"""A unit test that starts a process is no unit test."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import matrix.worker


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **_options: object) -> None:
        raise AssertionError(f"a unit test started a process: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)


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
    yield lambda version: load("transformer_engine_torch", version)
    torch.ops.tex_ts = before
    sys.modules.pop("transformer_engine_torch", None)
