"""Rule: everything on the page works by mouse and by keyboard, and it speaks to nobody."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from helpers.builders import with_message
from matrix.catalogue import scenarios
from matrix.cli import main
from matrix.plan.cells import Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.report import document, traits
from matrix.report.builder import scenario_row
from matrix.store import recorded
from matrix.store.records import Attempt
from matrix.store.store import Store

Open = Callable[..., Page]

TRAITS = {name: traits.of(scenario_row(sized)) for name, sized in scenarios.load().items()}
SCHEMES = ("light", "dark")
WIDTHS = (1280, 390)


def cell(page: Page, saver: str, loader: str) -> str:
    """Return a selector of one cell of the grid, found by its row and column heads."""
    heads = page.locator(".row.head [role=columnheader]").all_text_contents()
    rows = page.locator("[role=rowheader]").all_text_contents()
    row, column = rows.index(loader), heads.index(saver)
    return f".row:nth-child({row + 2}) > :nth-child({column + 1})"


def choose(page: Page, scenario: str, variant: str) -> None:
    found = TRAITS[scenario]
    page.locator("#module").select_option(found.module)
    page.locator("#recipe").select_option(found.recipe)
    page.locator("#scenario").select_option(scenario)
    page.locator("#variant").select_option(variant)


def evidence(page: Page) -> str:
    dialog = page.locator("#evidence")
    expect(dialog).to_be_visible()
    return dialog.inner_text()


def test_the_answer_comes_first(whole: Path, opened: Open) -> None:
    page = opened(whole)
    first = page.locator("header").inner_text()
    assert "Qualified on lane cpu, runner local" in first
    for fact in ("13359 cells planned", "0 live", "13359 recorded", "0 unavailable"):
        assert fact in first.replace("\n", " ")


def test_scenario_and_variant_switch_without_a_reload(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.evaluate("window.kept = true")
    assert page.locator(cell(page, "1.7", "1.8")).text_content() == "D*"
    choose(page, "autocast", "remapped")
    assert page.locator(cell(page, "1.7", "1.8")).text_content() == "F*"
    assert page.locator(cell(page, "1.8", "1.8")).get_attribute("aria-label") == "no such cell"
    choose(page, "fp8-weights", "remapped")
    assert page.locator(cell(page, "1.7", "1.8")).text_content() == "E*"
    assert page.locator("#bands caption").inner_text().startswith("fp8-weights, remapped")
    assert page.evaluate("window.kept")


def test_every_cell_of_every_grid_is_what_report_json_says(whole: Path, opened: Open) -> None:
    report = document.read(whole.parent / "report.json")
    page = opened(whole)
    for table in report.bands:
        choose(page, table.scenario, table.variant)
        labels = page.locator("[role=gridcell]").evaluate_all(
            "cells => cells.map(cell => cell.getAttribute('aria-label').replace(/^.+: /, ''))"
        )
        names = [row.name for row in report.releases]
        found = {}
        for cell_ in report.cells:
            if (cell_.scenario, cell_.variant) == (table.scenario, table.variant):
                place = names.index(cell_.loaded_by) * len(names) + names.index(cell_.saved_by)
                found[place] = f"{cell_.seen}, {cell_.verdict.value}"
        expected = [found.get(place, "no such cell") for place in range(len(names) ** 2)]
        assert labels == expected


def test_behaviours_stand_beside_the_faqs_bands(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.get_by_text(
        "autocast, attention-only: 7 behaviours where the FAQ has 4 bands; too coarse: >=1.12"
    ).click()
    shown = page.locator("section", has=page.locator("#h-behaviours")).inner_text()
    assert "G: 2.16.1, 2.17.1-2.20.2" in shown
    assert "2.16.1, 2.17 (back to F), 2.17.1 (back to G)." in shown


def test_a_click_opens_the_evidence(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.locator(cell(page, "1.8", "2.0")).click()
    shown = evidence(page)
    for part in (
        "Saved by 1.8, loaded by 2.0",
        "“Loads FP8 metadata from checkpoint”",
        "load_state_dict: failed",
        "first_step: not reached",
        "KeyError: 'recipe'",
        "Ledger: no-recipe",
        "core_attention",
        "forward.amax_history",
        "te-matrix run --saved-by 1.8 --loaded-by 2.0 --scenario autocast --variant plain",
    ):
        assert part in shown
    page.locator("#evidence").get_by_text("Traceback").click()
    assert "set_extra_state" in evidence(page)
    table = page.get_by_role("region", name="Environment").inner_text()
    assert table.count("2.13.0+cpu") == 2
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#evidence")).to_be_hidden()


def test_saved_loaded_and_default_values_stand_side_by_side(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.locator(cell(page, "1.7", "1.11")).click()
    tensors = page.get_by_role("region", name="Tensors of core_attention", exact=True)
    row = tensors.locator("tr").filter(
        has=page.locator("th", has_text=re.compile("^forward.scale$"))
    )
    saved, loaded, default, comparison, _moved = row.locator("td").all_inner_texts()
    assert saved.startswith("3.25000024 3.50000024 3.75000024")
    assert loaded.startswith("1 throughout")
    assert (default, comparison) == ("1", "the default")


def test_all_of_it_by_keyboard(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.locator("#scenario").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#shown").inner_text() == "attention-only, plain"
    page.keyboard.press("ArrowUp")
    assert page.locator("#shown").inner_text() == "autocast, plain"
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "gridcell":
            break
    for key in ("Control+End", "Control+Home", "ArrowDown", "ArrowRight", "End", "Home"):
        page.keyboard.press(key)
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("PageDown")
    page.keyboard.press("Enter")
    assert "Saved by 1.7, loaded by 1.10" in evidence(page)
    page.keyboard.press("Escape")
    expect(page.locator("#evidence")).to_be_hidden()
    focused = page.evaluate("document.activeElement.dataset.place")
    assert focused == str(11 * 41 + 8)
    page.keyboard.press("Space")
    assert "Saved by 1.7, loaded by 1.10" in evidence(page)


def test_deviations_are_found_one_after_the_other(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.get_by_role("button", name="Next deviation").click()
    assert page.locator("#count").inner_text() == "deviation 1 of 508"
    assert page.evaluate("document.activeElement.textContent") == "F*"
    page.get_by_role("button", name="Previous deviation").click()
    assert page.locator("#count").inner_text() == "deviation 508 of 508"
    page.keyboard.press("Enter")
    assert "known-deviation" in evidence(page)


def test_focus_is_never_under_the_sticky_heads(whole: Path, opened: Open) -> None:
    page = opened(whole, 390)
    page.locator(cell(page, "2.20.2", "2.20.2")).focus()
    for key in ["ArrowLeft"] * 40 + ["ArrowUp"] * 40:
        page.keyboard.press(key)
        box = page.evaluate(
            """() => { const one = document.activeElement.getBoundingClientRect();
            const corner = document.querySelector(".corner").getBoundingClientRect();
            return [one.left - corner.right, one.top - corner.bottom]; }"""
        )
        assert min(box) >= -1, (key, box)


def test_heads_stay_in_view(whole: Path, opened: Open) -> None:
    page = opened(whole, 390)
    page.locator("#gridscroll").evaluate("box => box.scrollTo(500, 500)")
    corner, box = (page.locator(one).bounding_box() for one in (".corner", "#gridscroll"))
    assert corner and box
    assert abs(corner["x"] - box["x"]) < 3
    assert abs(corner["y"] - box["y"]) < 3


def test_a_link_to_a_cell_opens_it(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.locator(cell(page, "1.8", "2.0")).click()
    link = page.url
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.url == link
    assert "Saved by 1.8, loaded by 2.0" in evidence(page)


def test_the_repeat_command_repeats_the_cell(whole: Path, opened: Open, tmp_path: Path) -> None:
    page = opened(whole, permissions=["clipboard-read", "clipboard-write"])
    page.locator(cell(page, "1.11", "2.1")).click()
    page.locator("#evidence").get_by_role("button", name="Copy").click()
    expect(page.get_by_text(" copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == page.locator("#repeat").inner_text()
    program = f'te-matrix() {{ {shlex.quote(sys.executable)} -m matrix "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", program + command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = document.read(tmp_path / "te-matrix-repeat" / "report.json").cells
    assert found.id == "autocast/plain/1.11->2.1"
    assert (found.outcome, found.error_type) == ("error", "KeyError")
    assert found.provenance == "live"


def test_a_hostile_message_stays_text(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}\u2028'\"`"
    forged = with_message(tmp_path / "evidence", hostile)
    monkeypatch.setattr(recorded, "evidence", lambda lane: forged)
    words = ["report", "--releases", "1.8-2.0", "--store", str(tmp_path / "store")]
    CliRunner().invoke(main, [*words, "--report", str(tmp_path)])
    page = opened(tmp_path / "index.html")
    page.on("dialog", lambda dialog: pytest.fail(f"the message ran: {dialog.message}"))
    page.locator(cell(page, "1.8", "2.0")).click()
    assert "alert(1)</script><img src=x onerror=alert(2)>{{7*7}}" in evidence(page)
    assert page.locator("img").count() == 0


def test_a_cell_without_outcome_says_why(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, make_plan: Callable[..., Plan]
) -> None:
    monkeypatch.setattr(recorded, "evidence", lambda lane: None)
    made = make_plan(["1.8"], ["1.11"])
    key = EvidenceIndex(made, None, None).save_attempt_key("autocast", made.savers[0])
    store = Store(tmp_path / "store")
    store.prepare()
    store.add_attempt(Attempt(key=key, kind="infra", message="killed", detail="out of", at="1"))
    words = ["report", "--saved-by", "1.8", "--loaded-by", "1.11", "--variant", "plain"]
    CliRunner().invoke(
        main, [*words, "--store", str(tmp_path / "store"), "--report", str(tmp_path)]
    )
    page = opened(tmp_path / "index.html")
    first = page.locator("header").inner_text()
    assert "Not decided on lane cpu" in first
    assert "1 cell: infra" in first
    page.locator(cell(page, "1.8", "1.11")).click()
    shown = evidence(page)
    for part in ("no outcome: infra", "killed", "What the attempt left", "Nothing was loaded"):
        assert part in shown


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(whole: Path, opened: Open, width: int, scheme: str) -> None:
    page = opened(whole, width, color_scheme=scheme)
    assert violations(page) == []
    page.locator(cell(page, "1.8", "2.0")).click()
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    page.evaluate(Path(os.environ["TE_MATRIX_AXE"]).read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert found["passes"]
    return [
        f"{one['impact']} {one['id']}: {node['html'][:120]} {node.get('failureSummary', '')}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]


def test_axe_finds_nothing_in_all_scenarios(everything: Path, opened: Open) -> None:
    assert violations(opened(everything)) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pictures(whole: Path, opened: Open, pictures: Path, width: int, scheme: str) -> None:
    """The page never scrolls sideways; only its tables do."""
    page = opened(whole, width, color_scheme=scheme)
    page.screenshot(path=pictures / f"page-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(cell(page, "1.7", "2.4")).click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=pictures / f"cell-{width}-{scheme}.png")


def test_prints_whole_on_light_paper(whole: Path, opened: Open, pictures: Path) -> None:
    page = opened(whole, 1047, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#gridscroll").evaluate("box => box.scrollWidth <= innerWidth")
    assert (
        page.locator("#gridscroll").evaluate("box => getComputedStyle(box).overflow") == "visible"
    )
    expect(page.get_by_role("button", name="Next deviation")).to_be_hidden()
    printed = page.pdf(path=pictures / "page.pdf", prefer_css_page_size=True)
    assert printed.count(b"/Type /Page\n") > 1
