"""Rule: what the README shows is what the evidence says, and what pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from matrix.catalogue.releases import Catalogue
from matrix.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCS = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS)]
SESSIONS = re.findall(r"@nox\.session\n(?:@.*\n)*def (\w+)", (ROOT / "noxfile.py").read_text())
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


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


def heading(text: str) -> str:
    """Return the name that a heading is linked by."""
    return re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")


def options(command: click.Command) -> set[str]:
    """Return every option of a command and of the commands below it."""
    found = {name for parameter in command.params for name in parameter.opts}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return found.union({"--help"}, *map(options, below))


def test_the_readme_is_short_and_counts_the_releases(known: Catalogue) -> None:
    assert len(README.splitlines()) <= 150
    oldest, *_others, newest = known.names()
    assert f"all {len(known.names())} releases from {oldest} to {newest}" in README


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in map(heading, re.findall("^#+ (.*)", target.read_text(), re.M)), link


@each_page
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """But for the evidence that does not exist yet, and a file of Transformer Engine's; the
    changelog names what was moved, too."""
    places = r"`((?:matrix|tests|docs|containers|fixtures)/[\w./-]*)`"
    named = re.findall(places, page.read_text()) if page.name != "CHANGELOG.md" else []
    missing = {place for place in named if not (ROOT / place).exists()}
    elsewhere = {"docs/faq.rst", "docs/_build/html", "fixtures/gpu/", "fixtures/gpu/evidence"}
    assert missing <= elsewhere


@each_page
def test_every_session_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"nox -s \"?((?:\w+ ?)+)", page.read_text())
    assert {name for names in named for name in names.split()} <= set(SESSIONS)


def test_every_command_that_it_names_exists() -> None:
    named = set(re.findall(r"te-matrix ([a-z]+)", README))
    assert named
    assert named <= set(main.commands)


@each_page
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    calls = re.findall(
        r"(?:^    |`|bin/)te-matrix ([a-z]+)([^`\n#]*)", page.read_text(), re.MULTILINE
    )
    assert {name for name, _rest in calls} <= set(main.commands)
    for name, rest in calls:
        given = re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", rest)
        assert set(given) <= options(main.commands[name]), f"{name}{rest}"
