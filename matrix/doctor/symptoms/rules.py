"""The rules as plain data, for the script of the report's page, which applies them as Python does.

Patterns are Python's regular expressions, each with its flags; the script translates them.
"""

from __future__ import annotations

import re
from typing import Any

from matrix.catalogue import releases
from matrix.catalogue.state_keys import EXTRA_STATE, WRAPPERS
from matrix.catalogue.words import Lane
from matrix.doctor.symptoms import claims, keys, page, seen, table, text


def plain_rules() -> dict[str, Any]:
    """Return the table of causes, the patterns of the code, and the errors that were seen.

    :raises TableError: the table of causes has a mistake.
    :raises StoreError: the list of recorded errors cannot be read.
    """
    known = table.load()
    patterns = text.PATTERNS | keys.PATTERNS | claims.PATTERNS
    return {
        "patterns": {name: _pattern(pattern) for name, pattern in patterns.items()},
        "longest": text.LONGEST,
        "prefixes": text.MOST_PREFIXES,
        "entities": text.ENTITIES,
        "shown": {"text": claims.SHOWN, "keys": keys.SHOWN, "scenarios": page.SHOWN},
        "toSend": page.TO_SEND,
        "meanings": keys.MEANINGS,
        "wild": table.WILD,
        "frame": table.FRAME,
        "extraState": EXTRA_STATE,
        "wrappers": sorted(WRAPPERS),
        "evidence": [row.model_dump(mode="json", exclude={"source"}) for row in known.evidence],
        "keys": [{"what": row.what, "pattern": _pattern(row.regex)} for row in known.keys],
        "kind": [{"name": row.name, "pattern": [row.pattern, ""]} for row in known.kind],
        "cause": [row.model_dump(mode="json") | {"kinds": row.kinds} for row in known.cause],
        "ordinary": [row.model_dump(mode="json") for row in known.ordinary],
        "seen": seen.load(Lane.CPU).model_dump(mode="json")["errors"],
        "releases": [release.name for release in releases.load().releases],
    }


def _pattern(pattern: re.Pattern[str]) -> list[str]:
    """Return the source of a pattern, and its flags as letters."""
    flags = {"i": re.IGNORECASE, "m": re.MULTILINE}
    return [pattern.pattern, "".join(name for name, flag in flags.items() if pattern.flags & flag)]
