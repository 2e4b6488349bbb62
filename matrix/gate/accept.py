"""Proposals for the ledger: entries that cover chosen deviations of a run."""

from __future__ import annotations

import datetime
import fnmatch
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from matrix.catalogue import ranges
from matrix.catalogue.words import Deviation, Stage, Verdict
from matrix.errors import StoreError, UsageError, nearest, os_errors_as
from matrix.judge import ledger
from matrix.judge.ledger import LedgerEntry
from matrix.report.cells import ReportCell
from matrix.report.document import Report

_FRAGMENT = 120
"""The number of characters of an error message that an entry holds."""


class Justification(BaseModel):
    """What the person who accepts a deviation has to say about it."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """Id of the first entry; further entries get ``-2``, ``-3``, ... appended."""
    cause: str = Field(min_length=1)
    """What causes the deviation: file and symbol in Transformer Engine."""
    accepted_by: str = Field(min_length=1, alias="owner")
    """Who accepts it."""
    reference: str = Field(min_length=1)
    """The upstream issue or change."""
    advice: str = Field(min_length=1)
    """What a user who has such a checkpoint can do."""
    expires: datetime.date
    """The date from which the entries no longer count."""


FIELDS = tuple(field.alias or name for name, field in Justification.model_fields.items())
"""The arguments of :func:`justify`."""


def justify(**fields: Any) -> Justification:
    """Return a justification.

    :param fields: the fields of :class:`Justification`; ``owner`` is ``accepted_by``.
    :raises UsageError: a field is empty or malformed.
    """
    try:
        return Justification(**fields)
    except ValidationError as error:
        wrong = "; ".join(f"--{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise UsageError(
            f"a known deviation needs its whole story: {wrong}",
            do="Say what causes it and who answers for it",
        ) from error


def select_cells(report: Report, patterns: Sequence[str]) -> list[ReportCell]:
    """Return the cells that deviate, have no ledger entry, and whose id matches a pattern.

    :param patterns: cell ids, in which ``*`` stands for any characters.
    :raises UsageError: a pattern matches no such cell, or a cell that no entry may excuse.
    """
    deviating = [cell for cell in report.cells if cell.verdict == Verdict.DEVIATES]
    found: dict[str, ReportCell] = {}
    for pattern in patterns:
        matches = [cell for cell in deviating if fnmatch.fnmatchcase(cell.id, pattern)]
        if not matches:
            raise UsageError(
                f"{pattern} matches no cell that deviates unknown to the ledger",
                do=nearest(pattern, [cell.id for cell in deviating] or ["(none deviates)"]),
            )
        found |= {cell.id: cell for cell in matches}
    _check_excusable(report, list(found.values()))
    return list(found.values())


def _check_excusable(report: Report, cells: Sequence[ReportCell]) -> None:
    candidates = {row.name for row in report.releases if row.candidate}
    for cell in cells:
        if Deviation.PARTIAL in cell.deviations:
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


def entries(
    cells: Sequence[ReportCell], justification: Justification, order: Sequence[str]
) -> list[LedgerEntry]:
    """Return entries that match the deviations of these cells, and of no others.

    :param order: the names of all releases, oldest first.
    """
    common = justification.model_dump(exclude={"id"})
    found: list[LedgerEntry] = []
    for (observed, stage, error, fragment), members in _deviations(cells).items():
        for scenarios, variants, savers, loaders in _rectangles(members, order):
            number = f"-{len(found) + 1}" if found else ""
            found.append(
                LedgerEntry(
                    id=justification.id + number,
                    saved_by=ranges.text(savers, order),
                    loaded_by=ranges.text(loaders, order),
                    scenarios=scenarios,
                    variants=variants,
                    observed=observed,
                    stage=stage,
                    error=error,
                    fragment=fragment,
                    **common,
                )
            )
    return found


_Deviation = tuple[Deviation, Stage | None, str | None, str | None]


def _deviations(cells: Sequence[ReportCell]) -> dict[_Deviation, list[ReportCell]]:
    """Group cells by deviation; a cell that has several is in several groups."""
    found: dict[_Deviation, list[ReportCell]] = {}
    for cell in cells:
        for deviation in cell.deviations:
            key: _Deviation = (deviation, None, None, None)
            if deviation == Deviation.ERROR:
                fragment = (cell.error_message or "")[:_FRAGMENT]
                key = (deviation, cell.stage, cell.error_type, fragment)
            found.setdefault(key, []).append(cell)
    return found


def _rectangles(
    cells: Sequence[ReportCell], order: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], list[str], list[str]]]:
    """Yield (scenarios, variants, savers, loaders) whose products are exactly the cells."""
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
    """Return entries as TOML, in the format of a ledger file."""
    return "\n".join(_row(entry) for entry in found)


def _row(entry: LedgerEntry) -> str:
    lines = ["[[entry]]"]
    for name, value in entry.model_dump(exclude_none=True).items():
        date = isinstance(value, datetime.date)
        lines.append(f"{name} = {value.isoformat() if date else _quoted(value)}")
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    # JSON strings and lists are valid TOML, except for DEL, which TOML requires to be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def add(path: Path, found: Sequence[LedgerEntry]) -> None:
    """Append entries to a ledger file, and create the file if it does not exist.

    :raises TableError: the file is no ledger, or an entry has the same id as one in it or
        matches the same cells.
    :raises StoreError: the file cannot be written.
    """
    before = ""
    if path.exists():
        known = ledger.load(path)
        for entry in found:
            ledger.check_apart(path, known, entry)
        before = path.read_text(encoding="utf-8").rstrip("\n") + "\n\n"
    with os_errors_as(StoreError, f"{path} cannot be written"):
        path.write_text(before + text(found), encoding="utf-8")
