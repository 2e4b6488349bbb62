"""Rule: a number of things is told as one reads it, and nowhere is a plural put after a number."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import matrix
from matrix.system.counting import counted

PACKAGE = Path(matrix.__file__).parent
PLURAL = (
    "cells|saves|controls|releases|scenarios|commits|checks|keys|files|images|records|rows|"
    r"changes|differences|modules|places|jobs|shards|tasks|workers|behaviours|bands|variants|"
    "entries|others|extra states|quantized weights"
)
AFTER_A_VALUE = re.compile(rf" (({PLURAL})\b|[a-z ]+\(s\))")
IN_A_TEMPLATE = re.compile(rf"\}}\}} ({PLURAL})\b")


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "cell", "0 cells"),
        (1, "cell", "1 cell"),
        (2, "extra state", "2 extra states"),
        (1, "entry", "1 entry"),
        (3, "entry", "3 entries"),
        (3, "key", "3 keys"),
    ],
)
def test_a_number_of_things(number: int, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def found_in(text: str) -> Iterator[str]:
    """Yield the plurals that a module puts after a value, unless that is a limit of ours."""
    for node in ast.walk(ast.parse(text)):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for value, after in itertools.pairwise(parts):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            is_limit = ast.unparse(value.value).isupper() or "limits." in ast.unparse(value.value)
            if AFTER_A_VALUE.match(str(after.value)) and not is_limit:
                yield ast.unparse(node)


def test_a_plural_after_a_number_is_found() -> None:
    assert list(found_in('f"{count} cells differ"')) and list(found_in('f"{count} place(s)"'))
    assert not list(found_in('f"{name}: cells differ, {limits.FILES} files at most"'))


def test_no_module_puts_a_plural_after_a_number() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert {path: found for path in texts if (found := list(found_in(texts[path])))} == {}


def test_no_template_puts_a_plural_after_a_number() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.j2")}
    assert {path: found for path in texts if (found := IN_A_TEMPLATE.findall(texts[path]))} == {}
