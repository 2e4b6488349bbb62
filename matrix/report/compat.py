"""What is known as data for other programs: one JSON file, read by ``compat_reader`` alone.

It says for each kind of checkpoint, saver and loader what a plain load does, why, and what helps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from matrix.catalogue.releases import Catalogue
from matrix.catalogue.words import CellStatus
from matrix.doctor import symptoms
from matrix.doctor.symptoms import Cause
from matrix.judge import endings as endings_of
from matrix.judge import ways
from matrix.judge.judgement import Judgement
from matrix.report import compat_reader, traits
from matrix.report.cells import ReportCell, ReportModel, one_line
from matrix.report.document import LedgerRow, Report, ScenarioRow

_PLAIN, _TRUSTED = "plain", "trusted"
_MESSAGE = 160


class CheckpointKind(ReportModel):
    """A kind of checkpoint: how it was saved, and how it is loaded."""

    scenario: str
    """Name of the scenario that stands for it."""
    module: str
    """Name of the Transformer Engine module."""
    recipe: str
    """Class of the recipe that it was saved with; empty where none leaves a trace in it."""
    load_recipe: str
    """Class of the recipe that it is loaded with; empty where none leaves a trace in it."""
    checkpoint: str
    """State, weights, transport, and what else is not the default."""
    summary: str
    """Who has such a checkpoint."""


class CompatOutcome(ReportModel):
    """What becomes of a checkpoint in a plain load, and what helps."""

    status: str
    """``loads``, ``frozen`` (it loads, and no later step updates its FP8 metadata), ``resets``
    (it loads, and FP8 metadata is silently lost that the loader has a place for), ``changed`` (it
    loads other weights or metadata than were saved), ``fails``, or ``unknown``: there is no
    outcome, or the loader lacks the recipe for the metadata that it holds."""
    error: str = ""
    """Class of the exception."""
    message: str = ""
    """The beginning of its message."""
    stage: str = ""
    """The step of the load, or ``save``, that raised it."""
    cause: str = ""
    """File and symbol in Transformer Engine, where that is known."""
    opt_in: str = ""
    """Environment variable that makes it load, where one does."""
    rewrite: bool = False
    """Whether it loads once ``te-matrix remap`` has rewritten it for the loader."""
    step: str = ""
    """What was seen to make it load, as a clause in which ``RELEASE`` stands for the loader; empty
    where nothing is needed, or nothing was seen to help."""
    gives_up: str = ""
    """What is given up by that, or by the loader's having no place for it."""
    advice: str = ""
    """What to do, where that is known."""


class CompatFile(ReportModel):
    """Contents of the file."""

    schema_: str = Field(default=compat_reader.SCHEMA, alias="schema")
    """Name of the kind of file."""
    version: int = compat_reader.VERSION
    """Version of its format."""
    harness: str
    """Version of te-matrix that wrote it."""
    date: str
    """The date of the judgement, in ISO 8601."""
    lane: str
    """What executed Transformer Engine: the ``cpu`` lane has its real Python code, no kernels."""
    releases: tuple[str, ...]
    """Names of the releases, oldest first."""
    kinds: tuple[CheckpointKind, ...]
    """The kinds of checkpoints."""
    outcomes: tuple[CompatOutcome, ...]
    """The distinct outcomes."""
    rows: tuple[tuple[int, ...], ...]
    """Distinct rows: for each saver, in the order of the releases, an index into ``outcomes``; -1
    where the saver or the loader lacks the module or the recipe. As runs: value, length, ..."""
    cells: dict[str, tuple[int, ...]]
    """By scenario: for each loader, in the order of the releases, an index into ``rows``."""


def unlisted(judgement: Judgement) -> dict[str, tuple[Cause, ...]]:
    """Return the causes of the errors of plain loads that no ledger entry lists, by cell."""
    return {
        verdict.cell.id: symptoms.rows_of(verdict.error)
        for verdict in judgement.verdicts
        if verdict.cell.variant == _PLAIN and verdict.error and not verdict.entries
    }


def text(report: Report, known: Catalogue, causes: Mapping[str, Sequence[Cause]]) -> str:
    """Return the text of the file.

    :param report: the report on all releases and scenarios, in all variants.
    :param known: the catalogue, which knows the loaders' opt-ins.
    :param causes: see :func:`unlisted`.
    """
    names = [row.name for row in report.releases]
    opt_ins = {name: known[name].opt_in or "" for name in names}
    entries = {row.id: row for row in report.ledger}
    by_pair: dict[tuple[str, str, str], dict[str, ReportCell]] = {}
    for cell in report.cells:
        place = cell.scenario, cell.loaded_by, cell.saved_by
        by_pair.setdefault(place, {})[cell.variant] = cell
    outcomes: dict[CompatOutcome, int] = {}
    rows: dict[tuple[int, ...], int] = {}
    cells: dict[str, tuple[int, ...]] = {}
    for scenario in (row.name for row in report.scenarios):
        numbers = []
        for loader in names:
            found = []
            for saver in names:
                by_variant = by_pair.get((scenario, loader, saver))
                if by_variant is None or _PLAIN not in by_variant:
                    found.append(-1)
                    continue
                reasons = causes.get(by_variant[_PLAIN].id, ())
                outcome = _outcome(by_variant, opt_ins[loader], entries, reasons)
                found.append(outcomes.setdefault(outcome, len(outcomes)))
            numbers.append(rows.setdefault(_runs(found), len(rows)))
        cells[scenario] = tuple(numbers)
    made = CompatFile(
        harness=report.harness,
        date=report.date,
        lane=report.lane.value,
        releases=tuple(names),
        kinds=tuple(map(_kind, report.scenarios)),
        outcomes=tuple(outcomes),
        rows=tuple(rows),
        cells=cells,
    )
    return _lines(made.model_dump(mode="json", by_alias=True, exclude_defaults=False))


def _lines(data: dict[str, Any]) -> str:
    """Return the data as JSON with a line for each item, so that changes can be read."""
    parts = []
    for name, value in data.items():
        if name in ("kinds", "outcomes", "rows"):
            items = ",\n".join(_compact(_without_empty(item)) for item in value)
            parts.append(f"{json.dumps(name)}:[\n{items}\n]")
        elif name == "cells":
            items = ",\n".join(f"{json.dumps(key)}:{_compact(row)}" for key, row in value.items())
            parts.append(f"{json.dumps(name)}:{{\n{items}\n}}")
        else:
            parts.append(f"{json.dumps(name)}:{_compact(value)}")
    return "{" + ",\n".join(parts) + "}\n"


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _without_empty(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {name: value for name, value in item.items() if value not in ("", False)}


def _kind(row: ScenarioRow) -> CheckpointKind:
    told = traits.of(row)
    stateless = told.recipe == traits.NO_RECIPE
    return CheckpointKind(
        scenario=row.name,
        module=row.module,
        recipe="" if stateless else row.save_recipe.name,
        load_recipe="" if stateless else row.load_recipe.name,
        checkpoint=told.checkpoint,
        summary=row.summary,
    )


def _outcome(
    by_variant: Mapping[str, ReportCell],
    opt_in: str,
    entries: Mapping[str, LedgerRow],
    unlisted: Sequence[Cause],
) -> CompatOutcome:
    plain = by_variant[_PLAIN]
    endings = {name: endings_of.of(cell) for name, cell in by_variant.items()}
    status = endings[_PLAIN].status
    across = ways.across(endings)
    gives_up = "; ".join(across.gives_up) if across else ""
    if status == CellStatus.UNKNOWN:
        return CompatOutcome(status=status.value)
    if status == CellStatus.LOADS:
        return CompatOutcome(status=status.value, gives_up=gives_up)
    listed = [entries[name] for name in plain.ledger if name in entries]
    causes: Sequence[LedgerRow | Cause] = listed or unlisted
    trusted = across is not None and across.variant.name == _TRUSTED
    return CompatOutcome(
        status=status.value,
        error=plain.error_type or "",
        message=one_line(plain.error_message or "")[:_MESSAGE],
        stage=plain.stage.value if plain.error_type and plain.stage else "",
        cause=" ".join(dict.fromkeys(entry.cause for entry in causes)),
        opt_in=opt_in if trusted else "",
        rewrite=across is not None and across.remaps,
        step=across.step(ways.ANY, opt_in) if across else "",
        gives_up=gives_up,
        advice=" ".join(dict.fromkeys(entry.advice for entry in causes)),
    )


def _runs(numbers: Iterable[int]) -> tuple[int, ...]:
    found: list[int] = []
    for number in numbers:
        if found and found[-2] == number:
            found[-1] += 1
        else:
            found += [number, 1]
    return tuple(found)
