"""The generated page in Debian's Chromium, from a file and without any network.

Looked into only where ``-m`` asks for ``browser``; `nox -s browser` installs what it needs
and says where axe-core lies (TE_MATRIX_AXE) and where pictures go (TE_MATRIX_PICTURES).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, Page, sync_playwright

from helpers.builders import FAQ_SCENARIOS
from matrix.cli import main

READY = "html[data-ready]"
SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)


def reported(folder: Path, scenario: str) -> Path:
    """Write the report on all releases from the recorded evidence, and return its page."""
    words = ["report", "--releases", "all", "--scenario", scenario, "--variant", "all"]
    words += ["--store", str(folder / "store"), "--report", str(folder)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return folder / "index.html"


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on the FAQ's scenarios."""
    return reported(tmp_path_factory.mktemp("whole"), FAQ_SCENARIOS)


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on all packaged scenarios; cells of which nothing is recorded are on it, too."""
    return reported(tmp_path_factory.mktemp("everything"), "all")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=os.environ.get("TE_MATRIX_CHROMIUM", "/usr/bin/chromium"),
            args=SWITCHES,
        )
        yield started
        started.close()


class Watched:
    """A page, and everything that it complained of or asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """Open a file at a width; afterwards no complaint and no request but the file's own."""
    watched: list[Watched] = []

    def open_(path: Path, width: int = 1280, fragment: str = "", **options: Any) -> Page:
        options = {"viewport": {"width": width, "height": 900}} | options
        page = browser.new_context(**options).new_page()
        watched.append(Watched(page))
        page.goto(f"{path.as_uri()}{fragment}")
        # The data is unpacked and the grid drawn after the page has loaded.
        page.wait_for_selector(READY, state="attached")
        return page

    yield open_
    for one in watched:
        assert one.complaints == []
        assert {url.partition("#")[0] for url in one.requests} == {one.page.url.partition("#")[0]}
        one.page.context.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    folder = Path(os.environ.get("TE_MATRIX_PICTURES", "te-matrix-report/pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
