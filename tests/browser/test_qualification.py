"""Rule: the document that is signed is readable on screen, phone and paper, without a script."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser.test_page import WIDTHS, violations
from playwright.sync_api import Browser, Page

from helpers.builders import a_cell, a_report
from matrix.catalogue import faq
from matrix.report import comparison, document, sheet, standings

NEW = "2.6@12345678"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document on a candidate that does worse in some cells, and better in others."""
    savers = ["2.0", "2.1", "2.2", "2.3", "2.4"]
    before = [a_cell(saver, "2.5", "error" if saver == "2.0" else "loaded") for saver in savers]
    after = [a_cell(saver, NEW, "error" if saver == "2.4" else "loaded") for saver in savers]
    new = a_report(*after, *(a_cell(NEW, saver) for saver in savers))
    rows = [row.model_copy(update={"candidate": "@" in row.name}) for row in new.releases]
    new = new.model_copy(update={"releases": tuple(rows)})
    instead = {NEW: "2.5"}
    found = comparison.compare(a_report(*before), new, instead)
    report = standings.with_qualification(new, found, instead, "recorded evidence")
    folder = tmp_path_factory.mktemp("signed")
    for name, text in sheet.texts(sheet.of(report, faq.load(), document.text(report))).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "qualification.html"


def opened(browser: Browser, path: Path, width: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("width", WIDTHS)
def test_it_never_scrolls_sideways_and_axe_finds_nothing(
    browser: Browser, signed: Path, pictures: Path, width: int
) -> None:
    page = opened(browser, signed, width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=pictures / f"qualification-{width}.png", full_page=True)
    assert violations(page) == []
    page.close()


def test_a_cause_opens_its_cells_by_keyboard(browser: Browser, signed: Path) -> None:
    page = opened(browser, signed, 1280)
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    link = page.locator("details[open] a").first
    assert link.is_visible()
    assert (link.get_attribute("href") or "").startswith("index.html#autocast/plain/2.4-")
    page.close()


def test_it_prints_on_a4_with_a_place_to_sign(
    browser: Browser, signed: Path, pictures: Path
) -> None:
    page = opened(browser, signed, 1280)
    page.emulate_media(media="print")
    for word in ("Name", "Date", "Decision"):
        assert page.locator(".sign").get_by_text(word).is_visible()
    printed = page.pdf(path=pictures / "qualification.pdf", prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    assert b"/MediaBox [0 0 594.95" in printed or b"/MediaBox [0 0 595" in printed
    page.close()
