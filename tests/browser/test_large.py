"""Rule: a matrix of three times today's releases is as usable as today's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from helpers import synthetic
from matrix import report
from matrix.catalogue import faq

RELEASES = 120
BYTES_PER_CELL = 300
"""10,000 cells make a page of less than 3 MB."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    return report.write(synthetic.a_judgement(folder, RELEASES), faq.load(), folder / "report")


def test_it_stays_small(large: Path) -> None:
    assert large.stat().st_size < BYTES_PER_CELL * RELEASES**2


@pytest.mark.parametrize("width", [1280, 390])
def test_every_corner_is_reached(
    large: Path, opened: Callable[..., Page], pictures: Path, width: int
) -> None:
    page = opened(large, width)
    page.locator("[role=gridcell]").first.focus()
    for key, saver, loader in (
        ("Control+End", "13.4", "13.4"),
        ("Home", "1.5", "13.4"),
        ("Control+Home", "1.5", "1.5"),
        ("End", "13.4", "1.5"),
    ):
        page.keyboard.press(key)
        expect(page.locator(":focus")).to_be_in_viewport()
        page.keyboard.press("Enter")
        title = page.locator("#evidence-title").inner_text()
        assert title == f"Saved by {saver}, loaded by {loader}"
        page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=pictures / f"large-{width}.png")
