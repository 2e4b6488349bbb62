"""JSON from files that nobody vouches for: checked for its size in memory before it is parsed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed

_NOT_ASCII = 16 << 20
"""The largest text with other characters than ASCII: in memory each may take four bytes."""

Pairs = list[tuple[str, Any]]


def parse(data: bytes, values: int, hook: Callable[[Pairs], Any] | None = None) -> Any:
    """Return what a JSON text holds.

    :param values: the most values that it may hold; each takes some 100 bytes of memory.
    :param hook: see ``object_pairs_hook`` of :func:`json.loads`.
    :raises Malformed: it is no JSON, or holds more.
    """
    if len(data) > limits.HEADER_BYTES or data.count(b",") > values:
        raise Malformed(f"it holds more than {values} values, which is more than is read")
    if len(data) > _NOT_ASCII and not data.isascii():
        raise Malformed(f"a text of {len(data)} bytes that is not ASCII is more than is read")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=hook)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("it is not JSON") from error
