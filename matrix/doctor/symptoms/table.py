"""The table of causes, ``symptoms.toml``, and the patterns in it."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

from matrix.catalogue import tables

WILD = "[^']{0,300}?"
"""What ``*`` stands for: anything but a quotation mark, so that it ends with the message."""


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern of the table for squeezed texts, which compares without regard to case."""
    literal = (re.escape(re.sub(r"\s", "", part)) for part in pattern.split("*"))
    return re.compile(WILD.join(literal), re.IGNORECASE)


class Evidence(tables.Row):
    """What shows that a text is about Transformer Engine."""

    name: str
    patterns: tuple[str, ...]
    unless: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    source: str

    def find(self, part: str) -> str:
        """Return what of a squeezed text shows it, or an empty text."""
        if any(compiled(pattern).search(part) for pattern in self.unless):
            return ""
        raised = from_last_frame(part)
        if self.last and raised and not holds([self.last], raised):
            return ""
        found = (compiled(pattern).search(part) for pattern in self.patterns)
        return next((match[0] for match in found if match), "")


class KeyList(tables.Row):
    """How a program lists keys."""

    what: Literal["missing", "unexpected", "size", "asked"]
    after: str
    source: str

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern of the list, whose only group is the keys."""
        return re.compile(self.after.replace("KEYS", _KEYS), re.IGNORECASE)


_KEYS = (
    r"(?:o?dict_keys|set|list)?[\[{(*-]*"
    r"('[^'\n]{1,500}'(?:[,*-]{0,2}'[^'\n]{1,500}')*|[\w./]{1,500}(?:[,*-]{1,2}[\w./]{1,500})*)"
)
"""A list of keys, with or without quotation marks, brackets and bullets."""


class KeyKind(tables.Row):
    """A kind of module that a key of an extra state belongs to, by the module's path."""

    name: str
    pattern: str


class Cause(tables.Row):
    """A cause, and the conditions under which a text is claimed to have it."""

    id: str
    title: str
    when: tuple[tuple[str, ...], ...] = ()
    code: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    alone: bool = False
    releases: str
    cause: str
    advice: str
    references: str

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """The kinds that the keys of each list are of; empty where it asks for no keys."""
        wanted = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "size": self.size,
            "asked": self.asked,
        }
        return {what: kinds for what, kinds in wanted.items() if kinds}


class Ordinary(tables.Row):
    """An error that is not Transformer Engine's, recognised only to say so."""

    id: str
    when: tuple[tuple[str, ...], ...]
    says: str


class Table(tables.Row):
    """The rows of ``symptoms.toml``, which explains their fields."""

    evidence: tuple[Evidence, ...]
    keys: tuple[KeyList, ...]
    kind: tuple[KeyKind, ...]
    cause: tuple[Cause, ...]
    ordinary: tuple[Ordinary, ...]

    @model_validator(mode="after")
    def _every_claim_has_evidence(self) -> Table:
        known = {row.name for row in self.evidence}
        for row in self.cause:
            if not row.kinds and not row.evidence:
                raise ValueError(f"the cause {row.id} asks for no evidence")
            if strangers := set(row.evidence) - known:
                raise ValueError(f"the cause {row.id} names unknown evidence: {strangers}")
        return self


@functools.cache
def load() -> Table:
    """Return the table.

    :raises TableError: it has a mistake.
    """
    return tables.load(tables.packaged("symptoms.toml"), Table)


FRAME = ".py',line"
"""What a frame has behind the path, in a squeezed text."""


def from_last_frame(part: str) -> str:
    """Return the last frame of a squeezed text, from its path on, and what follows it.

    It is empty where the text has no frame.
    """
    end = part.rfind(FRAME)
    return part[part.rfind("'", 0, end) + 1 :] if end >= 0 else ""


def holds(groups: Sequence[Sequence[str]], part: str) -> bool:
    """Return whether of each group some pattern is found in a squeezed text."""
    return all(any(compiled(p).search(part) for p in group) for group in groups)
