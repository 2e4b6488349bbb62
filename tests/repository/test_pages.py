"""Rule: every page is in the table of contents, and the reference has all that it is of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from matrix import doctor
from matrix.report import schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FIRST = DOCS / "index.md"
WRITTEN = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
PAGES = {*ROOT.glob("*.md"), *WRITTEN, ROOT / "fixtures" / "README.md"}


def listed() -> list[Path]:
    """Return the pages of the tables of contents."""
    tables = re.findall(r"```{toctree}\n(.*?)```", FIRST.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for table in tables for line in table.splitlines() if line and line[0] != ":"]
    names = [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
    return [(DOCS / f"{name}.md").resolve() for name in names]


def test_every_page_is_listed_once() -> None:
    assert not PAGES - {FIRST, *listed()}, "add it to a table of contents of docs/index.md"
    assert sorted(listed()) == sorted(PAGES - {FIRST})


def test_every_schema_is_described() -> None:
    page = (DOCS / "reference" / "schemas.md").read_text(encoding="utf-8")
    assert re.findall(r"```{json-schema} (\w+)", page) == list(schema.NAMES)


@pytest.mark.parametrize("name", doctor.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    assert re.search(rf"^.. auto\w+:: {name}$", page, re.MULTILINE)
