"""Rule: the page is given every pattern of the code and every row of the table, as plain data."""

from __future__ import annotations

import json
import re
from types import ModuleType

import pytest

from matrix.doctor import symptoms
from matrix.doctor.symptoms import claims, keys, table, text


@pytest.mark.parametrize("module", [claims, keys, text])
def test_every_pattern_is_given(module: ModuleType) -> None:
    patterns = [value for value in vars(module).values() if isinstance(value, re.Pattern)]
    assert patterns and set(patterns) == set(module.PATTERNS.values())


def test_every_row_is_given_and_is_plain() -> None:
    rules = symptoms.plain_rules()
    assert json.loads(json.dumps(rules)).keys() == rules.keys()
    known = table.load()
    for name in ("evidence", "keys", "kind", "cause", "ordinary"):
        assert len(rules[name]) == len(getattr(known, name))
    assert [row["kinds"] for row in rules["cause"]] == [row.kinds for row in known.cause]
