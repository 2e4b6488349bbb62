"""Rule: the docstring of every package says what it is for, and lists what is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "matrix"
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/**/__init__.py"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(PACKAGE)))
def test_a_room_lists_its_modules(room: Path) -> None:
    described = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
    assert described
    modules = {path.stem for path in room.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in room.glob("*/__init__.py")}
    listed = set(re.findall(r"[\w-]+", described))
    assert modules | packages <= listed


def test_few_things_are_at_the_top() -> None:
    top = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(top) <= 18
