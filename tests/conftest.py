"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue
from matrix.lane import environment, local
from matrix.plan.cells import Plan, plan_cells

# How long an example takes is the machine's affair, and no property.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

COVERAGE = "COVERAGE_PROCESS_CONFIG"


def pytest_configure() -> None:
    """Where coverage is measured, have the worker measure, too, and leave it time to write."""
    if COVERAGE not in os.environ:
        return
    environment._INHERITED = (*environment._INHERITED, COVERAGE)  # type: ignore[assignment]
    end = local.LocalRunner._end

    def end_in_peace(host: local.LocalRunner) -> None:
        time.sleep(1)
        end(host)

    local.LocalRunner._end = end_in_peace  # type: ignore[method-assign]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the browser's folder alone unless asked for: its imports need playwright."""
    unasked = "browser" not in config.option.markexpr
    return True if collection_path.name == "browser" and unasked else None


@pytest.fixture(scope="session", autouse=True)
def nothing_left_at_the_end() -> Iterator[None]:
    """What the tests left open is found while a test can still fail for it.

    pytest looks once more when a process ends, but what a process of pytest-xdist says then,
    nobody hears.
    """
    yield
    for _ in range(5):  # what one round frees can leave more for the next
        gc.collect()


@pytest.fixture(scope="session")
def known() -> Catalogue:
    return releases.load()


@pytest.fixture(scope="session")
def documentation() -> Documentation:
    return faq.load()


@pytest.fixture
def make_plan(known: Catalogue, documentation: Documentation) -> Callable[..., Plan]:
    def make(
        savers: list[str], loaders: list[str], variants: tuple[str, ...] = ("plain",), **more: Any
    ) -> Plan:
        return plan_cells(
            documentation,
            {"autocast": scenarios.load()["autocast"]},
            {name: scenarios.variants()[name] for name in variants},
            [known[name] for name in savers],
            [known[name] for name in loaders],
            **more,
        )

    return make


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a test starts heeds SIGINT, even where it is ignored on entry, as under nohup."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    """Write a TOML file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "table.toml"
        path.write_text(text)
        return path

    return write
