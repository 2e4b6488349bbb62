"""Rule: the page explains an error as ``te-matrix explain --error`` does, text for text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page, expect
from unit.doctor.test_symptoms import ALL, ORDINARY, OURS, decorated

from matrix.catalogue import releases
from matrix.doctor import symptoms
from matrix.doctor.symptoms import page as text_page

Open = Callable[..., Page]
Explain = Callable[[list[str]], list[Any]]


@pytest.fixture(scope="module")
def in_page(browser: Browser, whole: Path) -> Iterator[Explain]:
    """The page's own script as a function from texts to answers."""
    page = browser.new_page()
    page.goto(whole.as_uri())
    page.evaluate("rules => { window.found = symptomsOf(rules); }", symptoms.plain_rules())
    yield lambda texts: page.evaluate("texts => texts.map(found.explain)", texts)
    page.close()


def in_python(text: str) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(symptoms.explain(text))))


def test_both_corpora(in_page: Explain) -> None:
    found = dict(zip(ALL, in_page(list(ALL.values())), strict=True))
    for name, text in ALL.items():
        assert found[name] == in_python(text), name
    assert sum(bool(answer["causes"]) for answer in found.values()) == len(OURS)


@given(st.lists(decorated(), min_size=5, max_size=5))
def test_what_terminals_and_loggers_add(
    in_page: Explain, given: list[tuple[str, str, str]]
) -> None:
    shown = [text for _name, _plain, text in given]
    assert in_page(shown) == list(map(in_python, shown))


PIECES = st.sampled_from(
    [
        "_extra_state",
        "Missing key(s) in state_dict: ",
        "'a.norm._extra_state'",
        "KeyError: 'recipe'",
        "transformer_engine/x.py",
        "Traceback (most recent call last)",
        'File "é/ü.py", line ٣, in x',
        "size mismatch for a.weight: ",
        "&amp;quot;",
        "\x1b[31m",
        "\x1c> ",
        "\x1f",
        "\x85",
        "\u2028",
        "\n",
    ]
)
"""What the two languages' regular expressions may take differently, among other text."""


@pytest.mark.parametrize(
    "text",
    [
        "transformer\x1f_engine: KeyError: 'recipe'",
        "\x1f[rank0]: transformer_engine\n\x1f[rank0]: KeyError: 're\x85cipe'",
        "RuntimeError: Missing key(s) in state_dict: blöcke.norm._extra_state, größe.ln"
        "._extra_state",
        "File \"/opt/ü/transformer_engine/é.py\", line ٣, in set_extra_state\nKeyError: 'recipe'",
        "ſize miſmatch for block.attention._extra_state: ",
        "(Wörker pid=٣) transformer_engine: KeyError: 'recipe'",
    ],
)
def test_where_the_languages_differ(in_page: Explain, text: str) -> None:
    """Classes of characters, and letters without regard to case."""
    assert in_python(text)["causes"]
    assert in_page([text]) == [in_python(text)]


@given(st.lists(st.one_of(PIECES, st.text(max_size=20)), max_size=30).map("".join))
def test_any_text(in_page: Explain, text: str) -> None:
    assert in_page([text]) == [in_python(text)]


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000 + "_extra_state " * 10_000,
        "missing_keys=['" + "a." * 200_000,
        "\\" * 300_000,
        "[rank0]: " * 40_000,
        "transformer_engine/" * 20_000 + ".py",
        "Unexpected key(s) in state_dict: " + "'a.b', " * 50_000,
    ],
)
def test_hostile_text_is_only_text(in_page: Explain, text: str) -> None:
    assert in_page([text]) == [in_python(text)]


def unfolded(page: Page) -> Page:
    page.locator("#error summary").press("Enter")
    return page


def explained(page: Page, text: str) -> str:
    page.get_by_label("A traceback").fill(text)
    page.get_by_role("button", name="Explain").press("Enter")
    return page.locator("#explained").inner_text()


def test_the_box_answers_with_all_that_the_command_prints(whole: Path, opened: Open) -> None:
    page = unfolded(opened(whole, 390))
    text = OURS["recipe-after-extra-keys.txt"]["text"]
    shown = " ".join(explained(page, text).split())
    (answer,) = symptoms.explain(text).causes
    for part in (answer.error, answer.cause, answer.advice, answer.releases, answer.shown_by):
        assert " ".join(part.split()) in shown
    lines = list(text_page.page(symptoms.explain(text), releases.load().releases))
    pairs = [line.strip() for line in lines if line.strip().startswith("saved by")]
    assert pairs
    for pair in pairs:
        assert pair in shown
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_box_says_what_is_not_transformer_engines(whole: Path, opened: Open) -> None:
    page = unfolded(opened(whole))
    assert "differ by 'module.'" in explained(page, ORDINARY["ddp-prefix.txt"]["text"])
    assert "the whole traceback" in explained(page, "RuntimeError: hello")
    assert "nothing to explain" in explained(page, "  ")


def test_what_is_pasted_is_explained_and_stays_text(whole: Path, opened: Open) -> None:
    page = unfolded(opened(whole, permissions=["clipboard-read", "clipboard-write"]))
    text = "<img src=x onerror=alert(1)> transformer_engine KeyError: 'recipe'"
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.get_by_label("A traceback").focus()
    page.keyboard.press("Control+V")
    expect(page.locator("#explained")).to_contain_text("2.0 to 2.3 ask the state for a recipe")
    assert page.locator("img").count() == 0
