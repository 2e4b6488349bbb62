"""A corrected FAQ section in reStructuredText: the FAQ's form, with what was observed in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from matrix.catalogue import ranges
from matrix.catalogue.scenarios import SizedScenario, Variant
from matrix.catalogue.words import Stage
from matrix.report import rendering
from matrix.report.document import Report, ReportCell

SENTENCES = {
    "loaded": "loads the FP8 metadata of the checkpoint",
    "loaded (frozen)": "loads the FP8 metadata of the checkpoint, and never updates it again",
    "defaults": "sets the FP8 metadata to its defaults: 1 for scaling factors, 0 for amaxes",
    "none": "has no FP8 attention metadata to load",
    "partial": "loads the FP8 metadata of the checkpoint only in part",
    "partial (frozen)": "loads the FP8 metadata of the checkpoint only in part, and never updates"
    " it again",
}
NOT_OBSERVED = "not observed"


@dataclasses.dataclass(frozen=True)
class Line:
    """What happens to checkpoints of some savers; ``error`` is stage and class of a failure."""

    savers: str
    sentence: str
    error: tuple[str, str] | None


@dataclasses.dataclass(frozen=True)
class LoaderGroup:
    """Loaders that save to one place and do the same with every saver's checkpoint."""

    loaders: str
    saves_to: str | None
    variants: tuple[tuple[str, tuple[Line, ...]], ...]
    """Each variant's summary, and what it leads to."""


_Seen = tuple[str, Stage | None, str | None]
_Row = dict[tuple[str, str], _Seen]


def section(
    report: Report,
    scenarios: Mapping[str, SizedScenario],
    variants: Mapping[str, Variant],
    order: Sequence[str],
) -> str:
    """Return the section: a part for every scenario of the report.

    :param order: every release there is, oldest first.
    """
    parts = []
    for scenario in dict.fromkeys(cell.scenario for cell in report.cells):
        groups = list(_groups(report, scenario, variants, order))
        parts.append((scenario, scenarios[scenario].summary, groups))
    return rendering.render("faq.rst.j2", report=report, parts=parts)


def _groups(
    report: Report, scenario: str, variants: Mapping[str, Variant], order: Sequence[str]
) -> Iterator[LoaderGroup]:
    places = {row.release: row.observed for row in report.saves if row.scenario == scenario}
    rows: dict[str, _Row] = {}
    for cell in report.cells:
        if cell.scenario == scenario and not cell.rewritten:
            rows.setdefault(cell.loaded_by, {})[cell.variant, cell.saved_by] = _seen(cell)
    alike: dict[tuple[str | None, frozenset[tuple[tuple[str, str], _Seen]]], list[str]] = {}
    for loader in (name for name in order if name in rows):
        key = places.get(loader), frozenset(rows[loader].items())
        alike.setdefault(key, []).append(loader)
    for (place, _row), loaders in alike.items():
        row = rows[loaders[0]]
        present = [name for name in variants if any(variant == name for variant, _saver in row)]
        yield LoaderGroup(
            ranges.text(loaders, order),
            place,
            tuple((variants[v].summary, tuple(_lines(row, v, order))) for v in present),
        )


def _seen(cell: ReportCell) -> _Seen:
    return (cell.seen if cell.present else NOT_OBSERVED), cell.stage, cell.error_type


def _lines(row: _Row, variant: str, order: Sequence[str]) -> Iterator[Line]:
    savers: dict[_Seen, list[str]] = {}
    for name in order:
        if (variant, name) in row:
            savers.setdefault(row[variant, name], []).append(name)
    for (seen, stage, error), names in savers.items():
        failed = (stage.value, str(error)) if seen == "error" and stage else None
        yield Line(ranges.text(names, order), SENTENCES.get(seen, seen), failed)
