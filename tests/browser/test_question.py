"""Rule: the question at the top is answered as the evidence says, and its address keeps it."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from browser.conftest import reported
from browser.test_page import SCHEMES, WIDTHS, violations
from playwright.sync_api import Page, expect

from matrix.catalogue import releases, tables
from matrix.catalogue import ways as catalogued
from matrix.doctor import symptoms
from matrix.judge import endings, ways
from matrix.report import document, traits
from matrix.report.cells import ReportCell, one_line
from matrix.report.document import Report
from matrix.report.ways import told

Open = Callable[..., Page]
FIELDS = ("ask-saver", "ask-loader", "ask-module", "ask-recipe")


def ask(page: Page, *question: str) -> None:
    for name, value in zip(FIELDS, question, strict=True):
        page.locator(f"#{name}").select_option(value)


def asked(page: Page) -> tuple[str, ...]:
    return tuple(page.locator(f"#{name}").input_value() for name in FIELDS)


def fragment(*question: str) -> str:
    return "#question/" + "/".join(quote(part, safe="") for part in question)


def shown(page: Page) -> dict[str, dict[str, str]]:
    """Return status, text and first error of the answer on each scenario."""
    found = {}
    for card in page.locator("#answers > li").all():
        error = card.locator("> pre")
        answer = {
            "status": card.get_attribute("data-status") or "",
            "text": card.inner_text(),
            "error": error.inner_text() if error.count() else "",
        }
        for link in card.locator("a").all():
            found[(link.get_attribute("href") or "").removeprefix("#").partition("/")[0]] = answer
    return found


@pytest.fixture(scope="module")
def observed(everything: Path) -> Report:
    return document.read(everything.parent / "report.json")


def kinds(report: Report) -> dict[tuple[str, str], list[str]]:
    """Return the scenarios by module and recipe."""
    found = defaultdict(list)
    for one in map(traits.of, report.scenarios):
        found[one.module, one.recipe].append(one.scenario)
    return found


PAIRS = [("1.11", "2.2"), ("1.7", "2.4"), ("2.16", "2.17.1"), ("2.20.2", "1.5"), ("2.1", "2.1")]


@pytest.mark.parametrize(("saver", "loader"), PAIRS)
def test_every_answer_is_what_was_observed(
    everything: Path, observed: Report, opened: Open, saver: str, loader: str
) -> None:
    cells = {
        (cell.scenario, cell.variant): cell
        for cell in observed.cells
        if (cell.saved_by, cell.loaded_by) == (saver, loader)
    }
    ledger = {row.id: row for row in observed.ledger}
    page = opened(everything)
    for (module, recipe), scenarios in kinds(observed).items():
        ask(page, saver, loader, module, recipe)
        answers = shown(page)
        assert answers.keys() == {name for name in scenarios if (name, "plain") in cells}
        for name, answer in answers.items():
            cell = cells[name, "plain"]
            assert answer["status"] == endings.of(cell).status.value
            assert answer["error"].split() == error(cell).split()
            for entry in cell.ledger:
                assert ledger[entry].cause in answer["text"]
                assert ledger[entry].advice in answer["text"]
            assert helped(answer["text"]) == helps(cells, name, loader)


def error(cell: ReportCell) -> str:
    if cell.error_type is None:
        return ""
    assert cell.stage
    return f"{cell.error_type} at {cell.stage.value}: {one_line(cell.error_message or '')}"


def helped(text: str) -> str:
    found = re.search(r"Way across, as seen\s+(.+)", text)
    return found[1].strip() if found else ""


def helps(cells: dict[tuple[str, str], ReportCell], scenario: str, loader: str) -> str:
    """Return what made a kind of checkpoint load, worked out anew from the cells."""
    instead = catalogued.own_recipe().instead.get(scenario)
    across, kept = (
        ways.across({v: endings.of(cell) for (n, v), cell in cells.items() if n == name})
        for name in (scenario, instead)
    )
    opt_in = releases.load()[loader].opt_in
    if across is not None:
        return told(across.step(loader, opt_in), across.gives_up)
    if kept is not None:
        kept = dataclasses.replace(kept, own_recipe=True)
        return told(kept.step(loader, opt_in), kept.gives_up)
    others = [variant for name, variant in cells if name == scenario and variant != "plain"]
    return "nothing that was tried" if others else ""


def test_equal_answers_stand_together(everything: Path, opened: Open) -> None:
    page = opened(
        everything, fragment=fragment("1.11", "2.2", "MultiheadAttention", "DelayedScaling")
    )
    cards = page.locator("#answers > li")
    texts = [
        re.sub(
            r"(?s)(Checkpoint).*?(What to do|On this error|Way across)|Elsewhere.*|Repeat it",
            "",
            text,
        )
        for text in cards.all_inner_texts()
    ]
    assert len(set(texts)) == len(texts) > 1
    first = shown(page)["autocast"]
    assert first == shown(page)["attention-only"]
    summary = page.locator("#answered").inner_text()
    assert re.search(r"Of 11 kinds of checkpoint: (loads \d+, )?fails \d+\. $", summary + " ")


def test_an_error_that_the_ledger_does_not_list_is_explained(
    everything: Path, opened: Open
) -> None:
    page = opened(
        everything, fragment=fragment("1.7", "1.5", "MultiheadAttention", "DelayedScaling")
    )
    answer = shown(page)["autocast"]
    assert answer["error"] == "KeyError at load_state_dict: 'global_fp8_buffer'"
    (cause,) = symptoms.explain(answer["error"].replace(" at load_state_dict", "")).causes
    assert cause.cause in answer["text"] and cause.advice in answer["text"]
    assert "“Error: unexpected key”: it fails, for another reason" in answer["text"]


def test_where_the_answer_changes(everything: Path, opened: Open) -> None:
    page = opened(
        everything, fragment=fragment("1.11", "2.2", "MultiheadAttention", "DelayedScaling")
    )
    text = shown(page)["autocast"]["text"]
    assert (
        "loaded by 1.14: loads, FP8 attention metadata intact; changed between 1.14 and 2.0" in text
    )
    assert (
        "loaded by 2.4: loads, FP8 attention metadata intact; changed between 2.3 and 2.4" in text
    )


def test_the_address_keeps_the_question(everything: Path, opened: Open) -> None:
    page = opened(everything)
    ask(page, "1.7", "2.4", "TransformerLayer", "DelayedScaling")
    link = page.url.partition("#")[2]
    assert link == "question/1.7/2.4/TransformerLayer/DelayedScaling"
    again = opened(everything, fragment="#" + link)
    assert asked(again) == ("1.7", "2.4", "TransformerLayer", "DelayedScaling")
    assert shown(again) == shown(page)
    again.evaluate("location.hash = 'question/2.0/2.1/Linear/DelayedScaling'")
    expect(again.locator("#h-question")).to_be_focused()
    assert asked(again) == ("2.0", "2.1", "Linear", "DelayedScaling")


def test_a_recipe_with_an_arrow_is_kept_too(
    everything: Path, observed: Report, opened: Open
) -> None:
    module, recipe = next(key for key in kinds(observed) if "→" in key[1])
    page = opened(everything, fragment=fragment("2.4", "2.5", module, recipe))
    assert asked(page) == ("2.4", "2.5", module, recipe)


@pytest.mark.parametrize(
    "wrong",
    ["#question/9.9/2.4/Linear/DelayedScaling", "#question/1.7", "#question/%E0%A4%A/1/2/3"],
)
def test_a_question_of_nothing_shows_the_first(whole: Path, opened: Open, wrong: str) -> None:
    page = opened(whole, fragment=wrong)
    assert asked(page) == asked(opened(whole))


def test_a_link_to_what_another_report_has_says_so(everything: Path, opened: Open) -> None:
    page = opened(everything, fragment=fragment("1.7", "2.4", "Linear", "DelayedScaling"))
    assert page.locator("#answers > li").count()
    page.evaluate("location.hash = 'question/2.9/2.8/Linear/CustomRecipe'")
    expect(page.locator("#answered")).to_contain_text(
        "2.9, 2.8, Linear, CustomRecipe, which this report does not have"
    )
    assert page.locator("#answers > li").count() == 0
    ask(page, "1.7", "2.4", "Linear", "DelayedScaling")
    assert page.locator("#answers > li").count()


def test_what_loads_all_comes_before_what_helps_with_the_first_error(
    everything: Path, opened: Open
) -> None:
    """With the opt-in alone this checkpoint meets a second error."""
    page = opened(
        everything, fragment=fragment("2.8", "2.20.2", "MultiheadAttention", "Float8CurrentScaling")
    )
    text = shown(page)["mha.current-scaling"]["text"]
    way, on_error = text.index("Way across, as seen"), text.index("On this error")
    assert "--drop-fp8-state attention" in text[way:on_error]
    assert "What to do" not in text


def test_messages_are_without_what_is_for_terminals(everything: Path, opened: Open) -> None:
    page = opened(
        everything, fragment=fragment("1.13", "2.1", "MultiheadAttention", "DelayedScaling")
    )
    error = shown(page)["weights-only"]["error"]
    assert "do those steps only if you trust" in error and "[1m" not in error


def test_no_cell_says_so(everything: Path, opened: Open) -> None:
    page = opened(everything, fragment=fragment("1.0", "2.4", "GroupedLinear", "DelayedScaling"))
    assert (
        "No cell for any: 1.0 or 2.4 has no GroupedLinear" in page.locator("#answered").inner_text()
    )
    assert page.locator("#answers > li").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_all_of_it_by_keyboard(everything: Path, opened: Open, width: int) -> None:
    page = opened(everything, width)
    ids = []
    for _ in FIELDS:
        page.keyboard.press("Tab")
        ids.append(page.evaluate("document.activeElement.id"))
    assert ids == list(FIELDS)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Or: what does this error mean?"
    page.keyboard.press("Tab")
    link = page.locator(":focus").inner_text()
    before = page.url
    page.keyboard.press("Enter")
    expect(page.locator("#evidence")).to_be_visible()
    saver, loader, *_ = asked(page)
    title = page.locator("#evidence-title").inner_text()
    assert title == f"Saved by {saver}, loaded by {loader}"
    page.keyboard.press("Escape")
    expect(page.locator(":focus")).to_have_text(link)
    assert asked(page)[:2] == (saver, loader)
    expect(page).to_have_url(re.compile(re.escape(before + "#question/")))


def test_the_way_back_leads_out_of_a_cell(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.locator("#answers a").first.click()
    expect(page.locator("#evidence")).to_be_visible()
    page.go_back()
    expect(page.locator("#evidence")).to_be_hidden()
    expect(page.locator("#answers a").first).to_be_focused()


def test_the_command_is_of_all_kinds_that_stand_together(everything: Path, opened: Open) -> None:
    page = opened(
        everything, fragment=fragment("1.11", "2.2", "MultiheadAttention", "DelayedScaling")
    )
    card = page.locator("#answers > li").first
    card.get_by_text("Repeat it").click()
    command = card.locator("details pre").inner_text()
    names = re.search(r"--scenario (\S+)", command)
    links = [link.get_attribute("href") or "" for link in card.locator("a").all()]
    assert names and names[1].split(",") == [one[1:].partition("/")[0] for one in links]
    assert command.startswith("te-matrix run --saved-by 1.11 --loaded-by 2.2 --scenario autocast,")


CHANGES = """
[[change]]
release = "2.0"
after = "1.14"
basis = "commit"
commit = "544dd14b4f5a2b1e3c4d5e6f7a8b9c0d1e2f3a4b"
subject = "A commit that drops scale_inv"
pulls = [1234]

[[change.effect]]
role = "loader"
variant = "plain"
before = "loaded"
now = "error"
modules = ["MultiheadAttention"]
recipes = ["DelayedScaling"]
partners = "1.8-1.11"
cells = 4
tested = ["autocast/plain/1.11->2.0"]
"""


def test_the_commit_that_changed_it(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tables.packaged
    path = tmp_path / "changes.toml"
    path.write_text(CHANGES)
    monkeypatch.setattr(
        tables, "packaged", lambda name: path if name == path.name else packaged(name)
    )
    page = opened(reported(tmp_path / "report", "autocast"))
    ask(page, "1.11", "2.0", "MultiheadAttention", "DelayedScaling")
    change = "changed between 1.14 and 2.0\n544dd14b4 A commit that drops scale_inv #1234"
    assert change in re.sub(r"\n\W*", "\n", shown(page)["autocast"]["text"])
    ask(page, "1.7", "2.0", "MultiheadAttention", "DelayedScaling")
    assert "544dd14b4" not in shown(page)["autocast"]["text"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    everything: Path, opened: Open, pictures: Path, width: int, scheme: str
) -> None:
    question = fragment("1.11", "2.2", "MultiheadAttention", "DelayedScaling")
    page = opened(everything, width, fragment=question, color_scheme=scheme)
    for details in page.locator("#answers summary").all():
        details.click()
    page.locator("#error summary").click()
    page.get_by_label("A traceback").fill("transformer_engine: KeyError: 'recipe'")
    page.get_by_role("button", name="Explain").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=pictures / f"question-{width}-{scheme}.png")
    assert violations(page) == []


def test_print_shows_the_command_and_no_button(whole: Path, opened: Open) -> None:
    page = opened(whole)
    page.emulate_media(media="print")
    expect(page.locator("#answers details pre").first).to_be_visible()
    assert not [one for one in page.locator("button").all() if one.is_visible()]
