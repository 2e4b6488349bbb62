"""Render the FAQ's section with the observed outcomes, as reStructuredText."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

from matrix.catalogue import ranges
from matrix.catalogue.scenarios import SizedScenario, Variant
from matrix.catalogue.words import AfterLoad, Outcome, RestState, Stage, Weights, outcome_text
from matrix.report import rendering, traits
from matrix.report.cells import ReportCell
from matrix.report.document import Report

SENTENCES = {
    "loaded": "loads the FP8 metadata of the checkpoint",
    "loaded (frozen)": "loads the FP8 metadata of the checkpoint, and never updates it again",
    "defaults": "sets the FP8 metadata to its defaults: 1 for scaling factors, 0 for amaxes",
    "none": "has no FP8 attention metadata to load",
    "partial": "loads the FP8 metadata of the checkpoint only in part",
    "partial (frozen)": "loads the FP8 metadata of the checkpoint only in part, and never updates"
    " it again",
}
"""Each outcome as it is shown, and the sentence for it."""
WEIGHTS_CHANGED = "does not get the weights of the checkpoint back bit for bit"
"""The sentence for cells whose weights are not the checkpoint's."""
REST = {
    RestState.LOST: "; other modules lose theirs",
    RestState.FROZEN: "; that of the other modules is never updated again",
}
"""What is added to a sentence on the attention, where other parts do not fare as well."""
NOT_OBSERVED = "not observed"
"""Stands for the outcome of cells that have none."""
FAILS = "fails with an error"
"""What is said of cells that are ``error`` with every module."""
GOES_THROUGH = "raises no error"
"""What is said of cells that are ``error`` with no module."""
DEPENDS = "depends on the module"
"""What is said of cells that are ``error`` with some modules, or lack an outcome with some."""


@dataclasses.dataclass(frozen=True)
class SaverLine:
    """The outcome for the checkpoints of some savers."""

    savers: str
    """The savers as ranges."""
    sentence: str
    """What the loader does, from :data:`SENTENCES`."""
    error: tuple[str, str] | None
    """Stage and exception class of an error."""


@dataclasses.dataclass(frozen=True)
class LoaderGroup:
    """Loaders that save to the same key and have the same outcome with every saver."""

    loaders: str
    """The loaders as ranges."""
    saves_to: str | None
    """The key that they save to, ``none``, or None where that was not observed."""
    variants: tuple[tuple[str, tuple[SaverLine, ...]], ...]
    """The summary of each variant, and its outcomes."""


_Seen = tuple[str, Stage | None, str | None]
_Row = dict[tuple[str, str], _Seen]


def section(
    report: Report,
    scenarios: Mapping[str, SizedScenario],
    variants: Mapping[str, Variant],
    order: Sequence[str],
) -> str:
    """Return the section: what modules have in common, then a part for each scenario.

    Scenarios of which the very same is to be said share a part.

    :param scenarios: the scenarios of the report by name.
    :param variants: the variants of the report by name.
    :param order: the names of all known releases, oldest first.
    """
    parts: dict[tuple[LoaderGroup, ...], list[str]] = {}
    for scenario in dict.fromkeys(cell.scenario for cell in report.cells):
        groups = tuple(_groups(report, scenario, variants, order))
        parts.setdefault(groups, []).append(scenario)
    return rendering.render(
        "faq.rst.j2",
        report=report,
        common=list(_common(report, variants, order)),
        parts=sorted(parts.items(), key=lambda part: -len(part[1])),
        summaries={name: sized.summary for name, sized in scenarios.items()},
    )


def _common(
    report: Report, variants: Mapping[str, Variant], order: Sequence[str]
) -> Iterator[tuple[str, list[str], list[LoaderGroup]]]:
    """Yield whether loads raise an exception, for each kind of checkpoint that modules share.

    A kind comes with its modules. It is left out where nothing is the same in all of them.
    """
    kinds: dict[str, dict[str, str]] = {}
    present = {cell.scenario for cell in report.cells}
    for told in map(traits.of, (row for row in report.scenarios if row.name in present)):
        kinds.setdefault(told.kind, {})[told.scenario] = told.module
    for kind, modules in kinds.items():
        rows = _endings(report, modules)
        seen = {ending for row in rows.values() for ending, *_rest in row.values()}
        names = list(dict.fromkeys(modules.values()))
        if len(names) > 1 and seen & {FAILS, GOES_THROUGH}:
            yield kind, names, list(_alike(rows, {}, variants, order))


def _endings(report: Report, scenarios: Collection[str]) -> dict[str, _Row]:
    """Return how loads end by loader, variant and saver; :data:`DEPENDS` where that differs."""
    seen: dict[str, dict[tuple[str, str], set[str]]] = {}
    for cell in report.cells:
        if cell.scenario in scenarios and not cell.rewritten:
            row = seen.setdefault(cell.loaded_by, {})
            row.setdefault((cell.variant, cell.saved_by), set()).add(_ending(cell))
    return {
        loader: {
            place: (found.pop() if len(found) == 1 else DEPENDS, None, None)
            for place, found in row.items()
        }
        for loader, row in seen.items()
    }


def _ending(cell: ReportCell) -> str:
    if not cell.present:
        return NOT_OBSERVED
    return FAILS if cell.outcome == Outcome.ERROR else GOES_THROUGH


def _groups(
    report: Report, scenario: str, variants: Mapping[str, Variant], order: Sequence[str]
) -> Iterator[LoaderGroup]:
    places = {row.release: row.observed for row in report.saves if row.scenario == scenario}
    rows: dict[str, _Row] = {}
    for cell in report.cells:
        if cell.scenario == scenario and not cell.rewritten:
            rows.setdefault(cell.loaded_by, {})[cell.variant, cell.saved_by] = _seen(cell)
    yield from _alike(rows, places, variants, order)


def _alike(
    rows: Mapping[str, _Row],
    places: Mapping[str, str],
    variants: Mapping[str, Variant],
    order: Sequence[str],
) -> Iterator[LoaderGroup]:
    """Yield loaders with equal rows and places together.

    :param rows: by loader, what is to be said of each variant and saver.
    :param places: the key that a loader saves to.
    """
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
    return (_sentence(cell) if cell.present else NOT_OBSERVED), cell.stage, cell.error_type


def _sentence(cell: ReportCell) -> str:
    """Return what the loader does, or ``error``."""
    if cell.weights == Weights.CHANGED:
        return WEIGHTS_CHANGED
    shown = outcome_text(cell.outcome, cell.after_load)
    rest = REST.get(cell.rest_state, "") if cell.after_load != AfterLoad.FROZEN else ""
    return SENTENCES.get(shown, SENTENCES.get(cell.outcome.value, shown)) + rest


def _lines(row: _Row, variant: str, order: Sequence[str]) -> Iterator[SaverLine]:
    savers: dict[_Seen, list[str]] = {}
    for name in order:
        if (variant, name) in row:
            savers.setdefault(row[variant, name], []).append(name)
    for (seen, stage, error), names in savers.items():
        failed = (stage.value, str(error)) if seen == "error" and stage else None
        yield SaverLine(ranges.text(names, order), seen, failed)
