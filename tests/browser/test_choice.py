"""Rule: module, recipe and checkpoint lead to every scenario, and the address keeps the choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from matrix.report import document, traits

Open = Callable[..., Page]


def options(page: Page, name: str) -> list[str]:
    """Return the values that a select offers."""
    return page.locator(f"#{name} option").evaluate_all("all => all.map(one => one.value)")


def shown(page: Page) -> str:
    return page.locator("#shown").inner_text()


def address(page: Page) -> str:
    return page.url.partition("#")[2]


def test_everything_stays_small(everything: Path) -> None:
    assert everything.stat().st_size < 4_000_000
    assert everything.with_name("report.json").stat().st_size < 15_000_000


def test_every_scenario_is_offered_once(everything: Path, opened: Open) -> None:
    page = opened(everything)
    expected = [
        traits.of(row) for row in document.read(everything.parent / "report.json").scenarios
    ]
    found = []
    for module in options(page, "module"):
        page.locator("#module").select_option(module)
        for recipe in options(page, "recipe"):
            page.locator("#recipe").select_option(recipe)
            found += [(module, recipe, scenario) for scenario in options(page, "scenario")]
    assert Counter(found) == Counter((one.module, one.recipe, one.scenario) for one in expected)
    texts = [f"{one.checkpoint} ({one.scenario})" for one in expected]
    page.locator("#module").select_option("MultiheadAttention")
    page.locator("#recipe").select_option("DelayedScaling")
    assert set(page.locator("#scenario option").all_inner_texts()) < set(texts)


def test_what_was_chosen_stays_where_it_can(everything: Path, opened: Open) -> None:
    page = opened(everything)
    page.locator("#variant").select_option("trusted")
    page.locator("#module").select_option("Linear")
    assert shown(page) == "linear, trusted"
    page.locator("#recipe").select_option("no recipe")
    assert shown(page) == "linear.no-state, trusted"
    page.locator("#module").select_option("RMSNorm")
    assert shown(page) == "rmsnorm.no-state, trusted"


def test_the_address_keeps_the_choice(everything: Path, opened: Open) -> None:
    page = opened(everything)
    assert address(page) == ""
    page.locator("#module").select_option("TransformerLayer")
    page.locator("#variant").select_option("trusted")
    assert address(page) == "transformer-layer/trusted"
    again = opened(everything, fragment="#transformer-layer/trusted")
    assert shown(again) == "transformer-layer, trusted"
    assert again.locator("#module").input_value() == "TransformerLayer"
    again.locator("[role=gridcell]:not(.void)").first.click()
    assert address(again).startswith("transformer-layer/trusted/")
    again.keyboard.press("Escape")
    expect(again).to_have_url(re.compile("#transformer-layer/trusted$"))


@pytest.mark.parametrize(
    "fragment", ["#no-such/plain", "#autocast", "#%E0%A4%A", "#autocast/plain/9->9"]
)
def test_an_address_of_nothing_shows_the_first(
    everything: Path, opened: Open, fragment: str
) -> None:
    page = opened(everything, fragment=fragment)
    assert shown(page) == "autocast, plain"
    assert page.locator("#evidence").is_hidden()


def test_the_overview_leads_to_each_scenario(everything: Path, opened: Open) -> None:
    page = opened(everything)
    links = page.locator(".overview a")
    assert links.count() == len(document.read(everything.parent / "report.json").scenarios)
    links.get_by_text("history-16-to-1024", exact=True).focus()
    page.keyboard.press("Enter")
    # The browser tells the page of a new fragment only after the key has been handled.
    expect(page.locator("#h-bands")).to_be_focused()
    assert shown(page) == "history-16-to-1024, plain"


def test_the_legend_is_of_what_is_shown(whole: Path, opened: Open) -> None:
    page = opened(whole, fragment="#attention-only/plain")
    texts = page.locator("#legend li").all_inner_texts()
    assert any("loaded (frozen)" in text for text in texts)
    assert not any("partial" in text for text in texts)
    page.locator("#scenario").select_option("fp8-weights")
    assert any("partial" in text for text in page.locator("#legend li").all_inner_texts())


def test_the_choice_works_by_keyboard(everything: Path, opened: Open) -> None:
    page = opened(everything)
    page.locator("#answers summary").last.focus()
    ids = []
    for _ in range(4):
        page.keyboard.press("Tab")
        ids.append(page.evaluate("document.activeElement.id"))
    assert ids == ["module", "recipe", "scenario", "variant"]
    page.locator("#module").focus()
    page.keyboard.press("ArrowDown")
    assert shown(page) == "linear, plain"
    assert page.evaluate("document.activeElement.id") == "module"


def field(text: str) -> tuple[str, dict[str, int], int]:
    """Return what a field of the table of bands says: documented, observed, how many deviate."""
    deviating = re.search(r" \((\d+) deviate\)$", text)
    documented, _, observed = text.removesuffix(deviating[0] if deviating else "").partition(" → ")
    counts = re.findall(r"([a-z-]+(?: \([a-z, ]+\))?) (\d+)(?:, |$)", observed)
    return documented, {word: int(n) for word, n in counts}, int(deviating[1]) if deviating else 0


def test_the_table_of_bands_is_that_of_report_json(whole: Path, opened: Open) -> None:
    page = opened(whole)
    for table in document.read(whole.parent / "report.json").bands:
        page.evaluate(f"location.hash = '{table.scenario}/{table.variant}'")
        page.get_by_text(f"{table.scenario}, {table.variant}. Documented").wait_for()
        found = [field(text) for text in page.locator("#bands tbody td").all_inner_texts()]
        expected = [
            (row.documented, row.observed, row.deviating) if row.observed else ("–", {}, 0)
            for row in table.rows
        ]
        assert found == expected
