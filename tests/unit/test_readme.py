"""Rule: what the README shows is what the evidence says, and what pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from matrix.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_band_table_is_the_observed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(main, ["report", "--releases", "all", "--variant", "plain"])
    report = (tmp_path / "te-matrix-report" / "report.md").read_text()
    observed = re.search(r"## autocast, plain\n\n(.*?)\n\n", report, re.DOTALL)
    shown = re.search(r"<!-- generated.*?-->\n(.*?)\n<!-- end", README, re.DOTALL)
    assert observed and shown
    assert shown[1] == observed[1]


def test_every_place_in_the_layout_exists() -> None:
    table = re.search(r"\| where \| what \|\n(.*?)\n\n", README, re.DOTALL)
    assert table
    places = re.findall(r"`((?:matrix/)?[\w/]+(?:\.py|/))`", table[1])
    assert len(places) > 10
    for place in places:
        folders = ("", "matrix", "matrix/catalogue", "matrix/lane", "matrix/gate", "matrix/worker")
        assert any((ROOT / folder / place).exists() for folder in folders), place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_command_that_it_names_exists() -> None:
    named = set(re.findall(r"te-matrix ([a-z]+)", README))
    assert named
    assert named <= set(main.commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?:^    |`|bin/)te-matrix ([a-z]+)", page.read_text(), re.MULTILINE))
    assert named <= set(main.commands)
