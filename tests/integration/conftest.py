"""Runs of real Transformer Engine code in the cpu lane, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.objects import ObjectServer
from helpers.running import Bench, broken_copy


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectServer]:
    with ObjectServer() as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        found.make("bucket")
        yield found


@pytest.fixture
def broken_release(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """Copy release 2.17.1 and change one place in one of its files."""

    def make(file: str, pattern: str, replacement: str) -> Path:
        return broken_copy(tmp_path / "candidate", file, pattern, replacement)

    return make
