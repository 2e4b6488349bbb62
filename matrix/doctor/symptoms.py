"""Possible causes of an error: failures in the evidence, and symptoms that users report."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from matrix.catalogue import tables
from matrix.catalogue.scenarios import REWRITE
from matrix.catalogue.words import AfterLoad, Outcome
from matrix.doctor.similarity import fit, normalized
from matrix.judge.judgement import JudgedCell, Judgement
from matrix.judge.ledger import LedgerEntry

_ENOUGH = 0.5
_VARIANTS = ("plain", "trusted", "remapped")
_LONGEST = 200_000


class Symptom(tables.Row):
    """A symptom that users have reported; ``symptoms.toml`` explains the fields."""

    id: str
    patterns: tuple[str, ...]
    releases: str
    cause: str
    advice: str
    references: str


class _Symptoms(tables.Row):
    symptom: tuple[Symptom, ...]


def load() -> tuple[Symptom, ...]:
    """Return the table of reported symptoms.

    :raises TableError: the table has a mistake.
    """
    return tables.load(tables.packaged("symptoms.toml"), _Symptoms).symptom


@dataclasses.dataclass(frozen=True)
class SeenPairs:
    """The combinations of saver, loader and scenario that raised an error."""

    by_savers: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """(savers, loaders), each standing for all pairs of one of them with one of the others."""
    scenarios: tuple[str, ...]
    count: int
    """Number of combinations."""
    mended: int
    """Number of combinations that load, and whose state is updated, after some rewrite."""


@dataclasses.dataclass(frozen=True)
class PossibleCause:
    """One possible cause of an error, as ``te-matrix explain --error --json`` shows it."""

    fit: float
    """How well the known error fits the text, from 0 to 1."""
    error: str
    """The known error: class, stage and message, or the id of a reported symptom."""
    cause: str
    advice: str
    """What to do; empty where nothing is known."""
    reference: str
    """Upstream issues or pull requests; empty where there are none."""
    releases: str = ""
    """The releases that a reported symptom concerns, as text."""
    pairs: SeenPairs | None = None
    """The pairs that raised the error; None for a reported symptom that was not measured."""


def match(text: str, judgement: Judgement, entries: Sequence[LedgerEntry]) -> list[PossibleCause]:
    """Return the possible causes of an error, best fit first.

    :param text: a traceback, a message, or a log that contains one.
    :param judgement: the judgement of the whole catalogue.
    :param entries: the ledger, for causes and advice.
    """
    text = text[-_LONGEST:]
    found = [*_from_evidence(text, judgement, entries), *_from_reports(text)]
    return sorted(found, key=lambda each: (-round(each.fit, 2), each.pairs is None))


# Errors in the evidence.


def _from_evidence(
    text: str, judgement: Judgement, entries: Sequence[LedgerEntry]
) -> Iterator[PossibleCause]:
    groups: dict[tuple[str, str], list[JudgedCell]] = defaultdict(list)
    for verdict in judgement.verdicts:
        if verdict.error and verdict.cell.variant in _VARIANTS:
            groups[verdict.error.type, normalized(verdict.error.message)].append(verdict)
    mended = _mended(judgement)
    for (kind, message), verdicts in groups.items():
        assert verdicts[0].error is not None
        likeness = fit(text, kind, message, verdicts[0].error.frames)
        if likeness >= _ENOUGH:
            yield _cause(likeness, verdicts, entries, mended)


def _cause(
    likeness: float,
    verdicts: Sequence[JudgedCell],
    entries: Sequence[LedgerEntry],
    mended: set[tuple[str, str, str]],
) -> PossibleCause:
    first = next((v for v in verdicts if v.entries), verdicts[0])
    assert first.error is not None and first.load is not None
    entry = next((e for e in entries if e.id in first.entries), None)
    message = " ".join(first.error.message.split())[:300]
    return PossibleCause(
        likeness,
        f"{first.error.type} at {first.load.stage}: {message}",
        entry.cause if entry else _documented_cause(first),
        entry.advice if entry else "",
        entry.reference if entry else "",
        pairs=_pairs(verdicts, mended),
    )


def _pairs(verdicts: Sequence[JudgedCell], mended: set[tuple[str, str, str]]) -> SeenPairs:
    cells = {(v.cell.scenario, v.cell.saved_by, v.cell.loaded_by): None for v in verdicts}
    loaders: dict[str, list[str]] = defaultdict(list)
    for _scenario, saver, loader in cells:
        if loader not in loaders[saver]:
            loaders[saver].append(loader)
    savers: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for saver, names in loaders.items():
        savers[tuple(sorted(names))].append(saver)
    return SeenPairs(
        tuple((tuple(names), same) for same, names in savers.items()),
        tuple(dict.fromkeys(scenario for scenario, _saver, _loader in cells)),
        len(cells),
        len(cells.keys() & mended),
    )


def _documented_cause(verdict: JudgedCell) -> str:
    """Return the cause of an error that has no ledger entry."""
    if verdict.documented.sentence:
        return f"The FAQ documents it: “{verdict.documented.sentence}”."
    return "The FAQ says nothing of it."


def _mended(judgement: Judgement) -> set[tuple[str, str, str]]:
    """Return every (scenario, saver, loader) of which a rewrite loads and is updated."""
    return {
        (v.cell.scenario, v.cell.saved_by, v.cell.loaded_by)
        for v in judgement.verdicts
        if v.cell.variant.startswith(REWRITE)
        and (v.outcome, v.after_load) == (Outcome.LOADED, AfterLoad.UPDATES)
    }


# Errors that users report.


def _from_reports(text: str) -> Iterator[PossibleCause]:
    for symptom in load():
        best = max((_share(pattern, text) for pattern in symptom.patterns), default=0.0)
        if best:
            yield PossibleCause(
                best,
                f"reported, not measured here ({symptom.id})",
                symptom.cause,
                symptom.advice,
                symptom.references,
                releases=symptom.releases,
            )


def _share(pattern: str, text: str) -> float:
    """Return how much of its line a pattern covers, scaled to a fit; 0 if it is not in the text."""
    found = re.search(pattern, text)
    if found is None:
        return 0.0
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.end())
    line = text[start : end if end >= 0 else len(text)]
    return 0.55 + 0.4 * min(1.0, len(found[0]) / max(1, len(line.strip())))
