"""Runs in real containers. Needs an engine and the base image that ``engine.sh`` makes.

These tests build images of the harness, and the last of them prunes them all.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.running import TEST_BASE, Bench
from matrix.catalogue import faq
from matrix.errors import EngineError
from matrix.lane.containers import engine, lock
from matrix.lane.containers.confinement import ContainerLimits
from matrix.lane.containers.image_builder import ImageBuilder
from matrix.lane.containers.lock import BaseImage
from matrix.lane.containers.runner import DockerRunner
from matrix.system.progress import Progress


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "docker" in item.path.parts:
            item.add_marker(pytest.mark.docker)
    items.sort(key=lambda item: item.path.name == "test_prune.py")


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """The engine, with the base image loaded."""
    try:
        found = engine.connect()
    except EngineError as error:
        pytest.skip(str(error))
    if not found.images.list(TEST_BASE):
        pytest.skip(f"the engine has no image {TEST_BASE}; tests/docker/engine.sh makes it")
    yield found
    found.close()


@pytest.fixture
def bases() -> tuple[BaseImage, ...]:
    return lock.given(TEST_BASE, lock.load(lock.default()))


class Counted(DockerRunner):
    """The docker runner, counting the containers it starts."""

    started = 0

    def open(self, *words: Any) -> Any:
        self.started += 1
        return super().open(*words)


@pytest.fixture
def make_host(client: Any, bases: tuple[BaseImage, ...], tmp_path: Path) -> Callable[..., Counted]:
    """Return a maker of docker runners; keywords are limits of a container, or ``most``."""

    def make(most: int | None = None, **limits: Any) -> Counted:
        logs = tmp_path / "logs"
        image_builder = ImageBuilder(client, bases, faq.load(), logs, Progress(), most)
        return Counted(client, image_builder, logs, ContainerLimits(**limits))

    return make


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test nothing is left on the engine, which is one test's at a time.

    The engine is the machine's, so a file keeps out other processes, whoever started them.
    pytest-xdist's groups would not: 3.8.0 does not form any with pytest 9.2.
    """
    if "client" not in request.fixturenames:
        yield
        return
    with Path(tempfile.gettempdir(), "te-matrix-tests-engine.lock").open("w") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        yield
        assert engine.remove_owned(request.getfixturevalue("client"), lambda _owner: True) == []
