"""Rule: the page names the commits of the table of changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix.catalogue import tables
from matrix.errors import TableError
from matrix.report import commits

CHANGE = """
[[change]]
release = "2.0"
after = "1.14"
basis = "commit"
commit = "544dd14b4f5a2b1e3c4d5e6f7a8b9c0d1e2f3a4b"
subject = "Drop scale_inv"
pulls = [1234]
left = ["of no use to the page"]

[[change.effect]]
role = "loader"
variant = "plain"
before = "loaded"
now = "error"
modules = ["Linear"]
recipes = ["DelayedScaling"]
partners = "1.8-1.11, 1.14"
cells = 4
tested = ["linear/plain/1.8->2.0"]
"""


def given(path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(text)
    monkeypatch.setattr(tables, "packaged", lambda _name: path)


def test_ranges_become_the_releases_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(tmp_path / "changes.toml", CHANGE, monkeypatch)
    (row,) = commits.rows(["1.7", "1.8", "1.10", "1.12", "1.14"])
    assert row["effect"][0]["partners"] == ["1.8", "1.10", "1.14"]
    assert row["commit"].startswith("544dd14b4") and "left" not in row


def test_a_mistake_in_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(tmp_path / "changes.toml", '[[change]]\nrelease = "2.0"\n', monkeypatch)
    with pytest.raises(TableError, match="after"):
        commits.rows([])
