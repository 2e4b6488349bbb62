"""Rule: the tables of formats and states in ``docs/checkpoints.md`` and their tests go together."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
STATES = "doctor/test_states.py"
ELSEWHERE = {"test_exit_codes"}
"""Tests of ``test_states.py`` that are of no kind of state."""


def named() -> set[tuple[str, str]]:
    text = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    return set(NAMED.findall(text))


def in_file(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / "unit" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_of_the_tables_is_there() -> None:
    assert len(named()) > 30
    for file, name in sorted(named()):
        assert name in in_file(file), f"{file}::{name}"


def test_every_kind_of_state_that_has_a_test_is_in_the_table() -> None:
    kinds = {name for name in in_file(STATES) if name.startswith("test_")} - ELSEWHERE
    assert kinds == {name for file, name in named() if file == STATES}


def test_every_row_names_a_test() -> None:
    text = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    section = text.partition("## Tried with")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len([row for row in rows if NAMED.search(row)]) == len(rows) - 4
