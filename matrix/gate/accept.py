"""Chosen deviations of a run, turned into ledger entries for review."""

from __future__ import annotations

import datetime
import fnmatch
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matrix.catalogue import ranges
from matrix.catalogue.words import AfterLoad, Outcome, Stage, Verdict
from matrix.errors import StoreError, UsageError, nearest
from matrix.judge import ledger
from matrix.judge.ledger import LedgerEntry
from matrix.report.document import Report, ReportCell

_FRAGMENT = 120


class Review(BaseModel):
    """What a person says of a deviation; nothing of it can be left out or made up."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    cause: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    reference: str = Field(min_length=1)
    advice: str = Field(min_length=1)
    expires: datetime.date


def review(**fields: Any) -> Review:
    """Return a review.

    :raises UsageError: a field is empty or malformed.
    """
    try:
        return Review(**fields)
    except ValidationError as error:
        wrong = "; ".join(f"--{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise UsageError(
            f"a known deviation needs its whole story: {wrong}",
            do="Say what causes it and who answers for it",
        ) from error


def chosen(report: Report, patterns: Sequence[str]) -> list[ReportCell]:
    """Return the cells that deviate unknown to the ledger and whose ids match a pattern.

    :param patterns: cell ids, with ``*`` for any run of characters.
    :raises UsageError: a pattern matches no such cell, or one that no entry can excuse.
    """
    deviating = [cell for cell in report.cells if cell.verdict == Verdict.DEVIATES]
    found: dict[str, ReportCell] = {}
    for pattern in patterns:
        met = [cell for cell in deviating if fnmatch.fnmatchcase(cell.id, pattern)]
        if not met:
            raise UsageError(
                f"{pattern} matches no cell that deviates unknown to the ledger",
                do=nearest(pattern, [cell.id for cell in deviating] or ["(none deviates)"]),
            )
        found |= {cell.id: cell for cell in met}
    _excusable(report, list(found.values()))
    return list(found.values())


def _excusable(report: Report, cells: Sequence[ReportCell]) -> None:
    candidates = {row.name for row in report.releases if row.candidate}
    for cell in cells:
        if cell.outcome == Outcome.PARTIAL:
            raise UsageError(
                f"{cell.id} is partial, and that is never excused",
                why="metadata that is neither intact nor default has no known meaning",
                do="Find out what it is; leave it out of the patterns",
            )
        if candidates & {cell.saved_by, cell.loaded_by}:
            raise UsageError(
                f"{cell.id} is a candidate's, and the ledger holds releases only",
                do="Accept it when the release is in the catalogue; leave it out of the patterns",
            )


def entries(cells: Sequence[ReportCell], review: Review, order: Sequence[str]) -> list[LedgerEntry]:
    """Return entries that together know exactly these cells' deviations.

    :param order: every release there is, oldest first.
    """
    found: list[LedgerEntry] = []
    for (observed, stage, error, fragment), members in _deviations(cells).items():
        for scenarios, variants, savers, loaders in _blocks(members, order):
            number = f"-{len(found) + 1}" if found else ""
            found.append(
                LedgerEntry(
                    id=review.id + number,
                    saved_by=ranges.text(savers, order),
                    loaded_by=ranges.text(loaders, order),
                    scenarios=scenarios,
                    variants=variants,
                    observed=observed,
                    stage=stage,
                    error=error,
                    fragment=fragment,
                    cause=review.cause,
                    reference=review.reference,
                    advice=review.advice,
                    accepted_by=review.owner,
                    expires=review.expires,
                )
            )
    return found


_Deviation = tuple[Outcome | AfterLoad, Stage | None, str | None, str | None]


def _deviations(cells: Sequence[ReportCell]) -> dict[_Deviation, list[ReportCell]]:
    """Return the cells by deviation. One that deviates in outcome and is frozen has two."""
    found: dict[_Deviation, list[ReportCell]] = {}
    for cell in cells:
        if cell.outcome == Outcome.ERROR:
            fragment = (cell.error_message or "")[:_FRAGMENT]
            key: _Deviation = (Outcome.ERROR, cell.stage, cell.error_type, fragment)
            found.setdefault(key, []).append(cell)
        elif isinstance(cell.outcome, Outcome) and cell.outcome != cell.documented:
            found.setdefault((cell.outcome, None, None, None), []).append(cell)
        if cell.after_load == AfterLoad.FROZEN:
            found.setdefault((AfterLoad.FROZEN, None, None, None), []).append(cell)
    return found


def _blocks(
    cells: Sequence[ReportCell], order: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], list[str], list[str]]]:
    """Yield (scenarios, variants, savers, loaders) that together are exactly the cells."""
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cell in cells:
        pairs = places.setdefault((cell.scenario, cell.variant), [])
        pairs.append((cell.saved_by, cell.loaded_by))
    shared: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for (scenario, variant), pairs in places.items():
        shared.setdefault((variant, tuple(sorted(pairs))), []).append(scenario)
    for (variant, pairs_), scenarios in shared.items():
        for savers, loaders in ranges.rectangles(pairs_, order):
            yield tuple(scenarios), (variant,), savers, loaders


def text(found: Sequence[LedgerEntry]) -> str:
    """Return entries as the text of a ledger file."""
    return "\n".join(_row(entry) for entry in found)


def _row(entry: LedgerEntry) -> str:
    lines = ["[[entry]]"]
    for name, value in entry.model_dump(exclude_none=True).items():
        date = isinstance(value, datetime.date)
        lines.append(f"{name} = {value.isoformat() if date else _quoted(value)}")
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    # JSON's strings and lists are TOML's, but for one character that TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def add(path: Path, found: Sequence[LedgerEntry]) -> None:
    """Append entries to a ledger file, made where there is none.

    :raises TableError: the file is no ledger, or an entry cannot stand beside those in it.
    :raises StoreError: it cannot be written.
    """
    before = ""
    if path.exists():
        known = ledger.load(path)
        for entry in found:
            ledger.check_apart(path, known, entry)
        before = path.read_text(encoding="utf-8").rstrip("\n") + "\n\n"
    try:
        path.write_text(before + text(found), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path} cannot be written", why=str(error)) from error
