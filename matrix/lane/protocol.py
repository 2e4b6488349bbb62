"""What a release process says, checked in form before anything rests on it."""

from __future__ import annotations

import json
from typing import Any


def parsed(line: bytes) -> Any:
    """Return what a line of JSON holds, its texts such that UTF-8 can write them.

    :raises ValueError: it is no JSON.
    :raises RecursionError: it is nested too deeply.
    """
    found = json.loads(line)
    if b"\\ud" in line.lower():  # perhaps half of a surrogate pair; no record could hold it
        text = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
        found = json.loads(text)
    return found


def well_formed(reply: dict[str, Any]) -> bool:
    """Tell whether a reply holds an answer, or says why there is none."""
    part = reply.get("failure", reply.get("answer"))
    if not isinstance(part, dict) or not _texts(part.get("gaps", [])):
        return False
    if "failure" not in reply:
        return True
    words = [part[name] for name in ("type", "kind", "message", "traceback") if name in part]
    return _texts(words) and "message" in part and ("type" in part or "kind" in part)


def _texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(text, str) for text in found)
