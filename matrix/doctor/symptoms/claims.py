"""The causes whose conditions a text meets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from matrix.doctor.symptoms import keys, table
from matrix.doctor.symptoms.keys import Keys
from matrix.doctor.symptoms.table import Cause, Table, from_last_frame, holds
from matrix.doctor.symptoms.text import squeezed, tracebacks

SHOWN = 120
_FRAME = re.compile(r"',line(\d*),in")
_MESSAGE = re.compile(r"(?<!DistBackend)(?<!ChildFailed)(?:Error|Exception):")
"""The class of an exception before its message, but for those that other ranks and launchers raise
when one rank has failed."""
PATTERNS = {"line": _FRAME, "message": _MESSAGE}
"""The patterns of this module by name, for the script of the report's page."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A cause that a text is claimed to have."""

    cause: Cause
    shown_by: str
    """What of the text shows that it is Transformer Engine's."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """What is claimed of a text, or what it is instead."""

    text: str
    """The text in the form that patterns are compared with."""
    claims: tuple[Claim, ...]
    """The claims, the first cause first."""
    ordinary: str
    """What it is if nothing shows that it is Transformer Engine's, as a sentence; empty where that
    is not known."""


def find(text: str) -> Findings:
    """Return what is claimed of a traceback, a message, or a log that contains one.

    :raises TableError: the table of causes has a mistake.
    """
    known = table.load()
    text = squeezed(text)
    listed = keys.find(_without_notices(text), known.keys)
    claims = _chosen([*_of_messages(text, known), *_of_keys(text, listed, known)], listed)
    if _MESSAGE.search(text):
        claims = [claim for claim in claims if not claim.cause.alone]
    return Findings(text, tuple(claims), "" if claims else _ordinary(text, listed, known))


def _without_notices(text: str) -> str:
    """Return a text without what was printed before an exception was raised, and is none itself.

    What such a notice lists stopped nothing: the exception is what is to be explained.
    """
    parts = tracebacks(text)
    raising = [bool(_MESSAGE.search(part)) for part in parts]
    return "".join(p for n, p in enumerate(parts) if raising[n] or not any(raising[n:]))


def _of_messages(text: str, known: Table) -> Iterator[Claim]:
    parts = tracebacks(text)
    for cause in known.cause:
        if not cause.kinds:
            found = (_shown_by(cause, part, known) for part in parts if _meets(cause, part))
            shown = next((each for each in found if each), "")
            if shown:
                yield Claim(cause, shown)


def _meets(cause: Cause, part: str) -> bool:
    met = holds(cause.when, part) or _is_cut_after(cause.code, part)
    return met and not any(holds([[p]], part) for p in cause.unless)


def _is_cut_after(code: Sequence[str], part: str) -> bool:
    """Return whether the last frame shows some line of code, and the message after it is lost."""
    last = from_last_frame(part)
    return holds([code], last) and not _MESSAGE.search(last)


def _shown_by(cause: Cause, part: str, known: Table) -> str:
    """Return what of a part shows that it is Transformer Engine's; empty where nothing does."""
    rows = (row for name in cause.evidence for row in known.evidence if row.name == name)
    found = next((found for row in rows if (found := row.find(part))), "")
    return _FRAME.sub(r", line \1, in ", found)[-SHOWN:]


def _of_keys(text: str, listed: Keys, known: Table) -> Iterator[Claim]:
    if listed.weights:
        return  # what holds of weights is the answer, whatever else differs
    for cause in known.cause:
        if cause.kinds and _meets(cause, text):
            shown = [_only(listed, what, kinds, known) for what, kinds in cause.kinds.items()]
            if all(shown):
                yield Claim(cause, shown[0][-SHOWN:])


def _only(listed: Keys, what: str, kinds: Sequence[str], known: Table) -> str:
    """Return a key of a list if all extra states in it are of some kinds, else an empty text."""
    found = listed.kinds(what, known.kind)
    return next(iter(listed.states[what])) if found and found <= set(kinds) else ""


def _chosen(claims: Sequence[Claim], listed: Keys) -> list[Claim]:
    """Return the claims in the table's order, of each group the first."""
    order = {row.id: number for number, row in enumerate(table.load().cause)}
    chosen: list[Claim] = []
    groups: set[str] = set()
    for claim in sorted(claims, key=lambda each: order[each.cause.id]):
        if groups.isdisjoint(claim.cause.groups):
            chosen.append(claim)
            groups.update(claim.cause.groups)
    others = [claim for claim in chosen if not claim.cause.alone]
    return others if others or listed.weights else chosen


def _ordinary(text: str, listed: Keys, known: Table) -> str:
    if listed.weights:
        hint = (
            f"; the names differ by {listed.prefix!r} at their beginning" if listed.prefix else ""
        )
        return listed.weights + hint
    return next((row.says for row in known.ordinary if holds(row.when, text)), "")
