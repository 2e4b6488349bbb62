"""What the compiled extension of each release exports, as recorded from the compiled extensions.

``exports.json`` beside this file is written by ``te-matrix binding --record`` and checked by
``nox -s binding``. It lists each distinct fact once, with the releases that it is true of, e.g.
``"1.0-1.8,2.1"``.
"""

import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

_TABLE = Path(__file__).resolve().with_name("exports.json")


class Exports:
    """The exports of one release.

    :param version: a version of the catalogue, or of a candidate. A candidate that is newer than
        all releases of the table is taken to export what the newest of them does, and perhaps
        more: see ``certain``.
    """

    functions: Dict[str, List[str]]
    """Parameters of the overloads of each function, e.g. ``["input, dtype, *, out"]``."""
    enumerations: Dict[str, Dict[str, Any]]
    """``members`` with their numbers, ``equality`` and ``pickle`` of each enumeration."""
    classes: Dict[str, Any]
    """Names of other classes; the values have no meaning."""
    constants: Dict[str, Any]
    """Plain values."""
    submodules: Dict[str, Any]
    """Names of submodules; the values have no meaning."""
    absent: Dict[str, Any]
    """Names that the release's Python code asks for and the extension lacks."""

    def __init__(self, version: str) -> None:
        table = json.loads(_TABLE.read_text(encoding="utf-8"))
        releases = table["releases"]
        known = _nearest(version, releases)
        self.certain = known == version
        """Whether names that are not listed do not exist."""
        for kind in table["kinds"]:
            found = {}
            for name, facts in table[kind].items():
                for span, fact in facts.items():
                    if known in spelled_out(span, releases):
                        found[name] = fact
            setattr(self, kind, found)


def _nearest(version: str, releases: List[str]) -> str:
    """Return the newest release that is not newer than ``version``, else the oldest."""
    older = [release for release in releases if _number(release) <= _number(version)]
    return older[-1] if older else releases[0]


def _number(version: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def spelled_out(span: str, releases: List[str]) -> List[str]:
    """Return the releases of a span, e.g. ``"1.0-1.8,2.1"``."""
    found: List[str] = []
    for part in span.split(","):
        first, _, last = part.partition("-")
        found += releases[releases.index(first) : releases.index(last or first) + 1]
    return found
