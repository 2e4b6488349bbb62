"""The answer to one text: its possible causes, or that it is not Transformer Engine's."""

from __future__ import annotations

import dataclasses

from matrix.catalogue.words import Lane
from matrix.doctor.symptoms import claims, seen, table
from matrix.doctor.symptoms.seen import SeenErrors, SeenPairs
from matrix.doctor.symptoms.table import Cause
from matrix.store.records import Failure


@dataclasses.dataclass(frozen=True)
class PossibleCause:
    """One possible cause of an error, as ``te-matrix explain --error --json`` shows it."""

    id: str
    """Its name in ``symptoms.toml``."""
    error: str
    """What happened, as a sentence."""
    shown_by: str
    """What of the text shows that it is Transformer Engine's."""
    releases: str
    """The releases that it concerns, as text."""
    cause: str
    advice: str
    """What to do."""
    reference: str
    """Upstream issues, pull requests, or files."""
    pairs: SeenPairs | None = None
    """The pairs of releases that raised it in the recorded evidence; None where none did."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The answer to one text."""

    causes: tuple[PossibleCause, ...]
    """The causes, the first cause first; none where nothing shows that it is Transformer Engine's,
    or its cause is not known."""
    ordinary: str = ""
    """What it is instead, as a sentence; empty where that is not known."""


def explain(text: str) -> Explanation:
    """Return what a traceback, a message, or a log with one in it, means.

    :raises TableError: the table of causes has a mistake.
    :raises StoreError: the list of recorded errors cannot be read.
    """
    found = claims.find(text)
    if not found.claims:
        return Explanation((), found.ordinary)
    errors = seen.load(Lane.CPU)
    return Explanation(tuple(_cause(claim, errors, found.text) for claim in found.claims))


def rows_of(error: Failure) -> tuple[Cause, ...]:
    """Return the rows of ``symptoms.toml`` that explain an error of the evidence."""
    ids = seen.causes_of(error)
    return tuple(row for row in table.load().cause if row.id in ids)


def _cause(claim: claims.Claim, errors: SeenErrors, text: str) -> PossibleCause:
    row = claim.cause
    return PossibleCause(
        id=row.id,
        error=row.title,
        shown_by=claim.shown_by,
        releases=row.releases,
        cause=row.cause,
        advice=row.advice,
        reference=row.references,
        pairs=seen.pairs(row.id, text, errors),
    )
