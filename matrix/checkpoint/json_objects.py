"""JSON objects in headers and indices, read within the budget and with one reading only."""

from __future__ import annotations

import json
from typing import Any

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget

_MARKS = (b",", b":", b"[", b"{")
_MARK_COST = 64  # each value has one of these marks before it, and takes about as many bytes


def read(data: bytes, budget: Budget) -> dict[str, Any]:
    """Return a JSON object.

    :param budget: what may be read; the cost is deducted before anything is parsed.
    :raises Malformed: it is none.
    :raises Refused: a key stands in it twice, is longer than any, or it exceeds the budget.
    """
    width = 2 if data.isascii() else 5
    budget.spend(width * len(data) + _MARK_COST * sum(map(data.count, _MARKS)))
    try:
        found = json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise (error if isinstance(error, Refused) else Malformed("not JSON")) from error
    if not isinstance(found, dict):
        raise Malformed("not a JSON object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refused("a key stands twice in a JSON object, and readers may take either")
    if any(len(key) > limits.KEY_CHARACTERS for key in found):
        raise Refused(f"a key of more than {limits.KEY_CHARACTERS} characters")
    return found
