"""The qualification of one candidate as a document: ``qualification.json``, page and Markdown.

It has what the report on a candidate says of it alone: what it reads of others, what others read
of it, the FAQ's sentences beside what was seen, and digests of the evidence and of the report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from markupsafe import Markup
from pydantic import Field

from matrix.catalogue import ranges, releases, scenarios
from matrix.catalogue.faq import Documentation
from matrix.catalogue.words import Lane, RunnerName
from matrix.report import rendering, traits
from matrix.report.cells import ReportCell, ReportModel
from matrix.report.document import Report
from matrix.report.overview import ABSENT, FROZEN, word_of
from matrix.report.qualification import Match, Qualification
from matrix.report.traits import Traits

FORMAT = 1
"""Version of the format of ``qualification.json``."""
LETTERS = {
    "loaded": "L",
    FROZEN: "F",
    "defaults": "D",
    "none": "N",
    "error": "E",
    "partial": "P",
    ABSENT: "?",
}
"""The letter of each outcome in the grids."""
_NO_CELL = ""
_REWRITES = "rewrite:"


class Ending(ReportModel):
    """What becomes of the checkpoints of some releases, or of checkpoints in some releases."""

    seen: str
    """The outcome as it is shown, e.g. ``loaded (frozen)``."""
    variants: tuple[str, ...]
    """Names of the variants in which that was seen."""
    releases: str
    """The other releases, as ranges."""


class Exchange(ReportModel):
    """What a candidate and other releases read of each other, for checkpoints of some kinds."""

    module: str
    """Name of the module."""
    recipe: str
    """The recipe's class; with an arrow, those of saver and loader."""
    checkpoints: tuple[str, ...]
    """The kinds of checkpoints: state, weights, transport, and what else is not the default."""
    scenarios: tuple[str, ...]
    """Names of their scenarios."""
    endings: tuple[Ending, ...]
    """What becomes of them."""


class FaqRow(ReportModel):
    """What the FAQ says of one pair of bands, beside what was seen."""

    saved_by: str
    """Name of the saver's band, or of the candidate."""
    loaded_by: str
    """Name of the loader's band, or of the candidate."""
    sentence: str
    """The FAQ's sentence; empty where it has none."""
    documented: str
    """The documented outcome."""
    seen: dict[str, int]
    """Number of the FAQ's cells, in variants that it speaks of, by outcome as it is shown."""


class GridRow(ReportModel):
    """One scenario and variant: a letter for each other release."""

    scenario: str
    """Name of the scenario."""
    variant: str
    """Name of the variant."""
    letters: tuple[str, ...]
    """A letter by outcome for each release of the grid; empty where there is no cell."""


class Grid(ReportModel):
    """All cells of a candidate in one direction."""

    releases: tuple[str, ...]
    """Names of the other releases, oldest first."""
    rows: tuple[GridRow, ...]
    """One for each scenario and variant."""


class Sheet(ReportModel):
    """The qualification of one candidate: the contents of ``qualification.json``."""

    format: int = Field(default=FORMAT, ge=1)
    """Version of the format."""
    harness: str
    """Version of te-matrix."""
    date: str
    """The date of the judgement, in ISO 8601."""
    lane: Lane
    """What executed Transformer Engine."""
    runner: RunnerName
    """Where it was executed."""
    candidate: Match
    """The candidate, and the release that it is held against."""
    answer: str
    """``qualified``, ``not qualified`` or ``not decided``."""
    sentence: str
    """The answer with its limits."""
    qualification: Qualification
    """What got worse or better, by cause."""
    reads: tuple[Exchange, ...]
    """What the candidate reads of other releases, by module and recipe."""
    read_by: tuple[Exchange, ...]
    """What other releases read of the candidate, by module and recipe."""
    faq: tuple[FaqRow, ...]
    """The FAQ's sentences for the candidate beside what was seen."""
    loads: Grid
    """The candidate as loader: the savers across."""
    saves: Grid
    """The candidate as saver: the loaders across."""
    evidence_digest: str
    """SHA-256 over one line for each of its cells, sorted: id, outcome, and the error if any."""
    report_digest: str
    """SHA-256 of ``report.json``."""


def of(report: Report, documentation: Documentation, report_text: str) -> Sheet:
    """Return the qualification of the first candidate of a report.

    :param report: the report on a candidate, with its qualification.
    :param report_text: the text of ``report.json``.
    """
    qualification = report.qualification
    assert qualification is not None
    match = qualification.matches[0]
    order = releases.order([row.name for row in report.releases])
    told = {row.name: traits.of(row) for row in report.scenarios}
    loads = [cell for cell in report.cells if cell.loaded_by == match.name]
    saves = [cell for cell in report.cells if cell.saved_by == match.name]
    savers = [cell for cell in loads if cell.saved_by != match.name]
    loaders = [cell for cell in saves if cell.loaded_by != match.name]
    return Sheet(
        harness=report.harness,
        date=report.date,
        lane=report.lane,
        runner=report.runner,
        candidate=match,
        answer=qualification.answer,
        sentence=qualification.sentence,
        qualification=qualification,
        reads=tuple(_exchanges(savers, told, order, "saved_by")),
        read_by=tuple(_exchanges(loaders, told, order, "loaded_by")),
        faq=tuple(_faq(report, documentation, match.name)),
        loads=_grid(loads, order, "saved_by"),
        saves=_grid(saves, order, "loaded_by"),
        evidence_digest=_digest("\n".join(sorted(map(_line, {*loads, *saves})))),
        report_digest=_digest(report_text),
    )


def texts(made: Sheet) -> dict[str, str]:
    """Return the texts of the document's files, by name."""
    return {
        "qualification.json": made.model_dump_json(indent=1) + "\n",
        "qualification.html": rendering.render(
            "qualification.html.j2",
            sheet=made,
            letters=LETTERS,
            style=Markup(rendering.source("qualification.css")),
        ),
        "qualification.md": rendering.render("sheet.md.j2", sheet=made),
    }


def _line(cell: ReportCell) -> str:
    return json.dumps([cell.id, cell.seen, cell.reason], ensure_ascii=False)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _exchanges(
    cells: Iterable[ReportCell], told: Mapping[str, Traits], order: Sequence[str], partner: str
) -> Iterator[Exchange]:
    """Yield what becomes of checkpoints, those of one module and recipe that fare alike once.

    :param partner: the field of a cell that names the other release.
    """
    by_scenario: dict[str, list[ReportCell]] = {}
    for cell in cells:
        if not cell.variant.startswith(_REWRITES):
            by_scenario.setdefault(cell.scenario, []).append(cell)
    alike: dict[tuple[str, str, tuple[Ending, ...]], list[Traits]] = {}
    for scenario, found in by_scenario.items():
        one = told[scenario]
        endings = tuple(_endings(found, order, partner))
        alike.setdefault((one.module, one.recipe, endings), []).append(one)
    for (module, recipe, endings), members in sorted(alike.items(), key=lambda item: item[0][:2]):
        yield Exchange(
            module=module,
            recipe=recipe,
            checkpoints=tuple(dict.fromkeys(one.checkpoint for one in members)),
            scenarios=tuple(one.scenario for one in members),
            endings=endings,
        )


def _endings(cells: Sequence[ReportCell], order: Sequence[str], partner: str) -> Iterator[Ending]:
    """Yield the outcomes of a scenario; variants in which they are the same stand together."""
    by_variant: dict[str, dict[str, set[str]]] = {}
    for cell in cells:
        outcomes = by_variant.setdefault(cell.variant, {})
        outcomes.setdefault(_shown(cell), set()).add(getattr(cell, partner))
    alike: dict[tuple[str, str], list[str]] = {}
    for variant, outcomes in by_variant.items():
        for shown, names in outcomes.items():
            alike.setdefault((shown, ranges.text(names, order)), []).append(variant)
    for (shown, names_as_ranges), variants in alike.items():
        yield Ending(seen=shown, variants=tuple(variants), releases=names_as_ranges)


def _shown(cell: ReportCell) -> str:
    return f"{cell.seen}: {cell.error_type}" if cell.error_type else cell.seen


def _faq(report: Report, documentation: Documentation, name: str) -> Iterator[FaqRow]:
    """Yield the FAQ's sentences on a candidate, for both directions and every band."""
    of_faq = {row.name for row in report.scenarios if row.name in _faq_scenarios()}
    bands = [band.name for band in documentation.bands]
    band_of = {row.name: row.band for row in report.releases}
    for loads in (True, False):
        for band in bands:
            cells = [
                cell
                for cell in report.cells
                if (cell.loaded_by if loads else cell.saved_by) == name
                and (cell.saved_by if loads else cell.loaded_by) != name
                and band_of[cell.saved_by if loads else cell.loaded_by] == band
                and cell.scenario in of_faq
                and cell.documented_sentence
            ]
            for sentence in dict.fromkeys(cell.documented_sentence for cell in cells):
                same = [cell for cell in cells if cell.documented_sentence == sentence]
                yield FaqRow(
                    saved_by=band if loads else name,
                    loaded_by=name if loads else band,
                    sentence=sentence or "",
                    documented=same[0].documented.value,
                    seen=_counted(cell.seen for cell in same),
                )


def _counted(shown: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in shown:
        found[one] = found.get(one, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _faq_scenarios() -> set[str]:
    return {name for name, sized in scenarios.load().items() if sized.scenario.faq}


def _grid(cells: Sequence[ReportCell], order: Sequence[str], partner: str) -> Grid:
    met = {getattr(cell, partner) for cell in cells}
    partners = [name for name in order if name in met]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        row = rows.setdefault((cell.scenario, cell.variant), {})
        row[getattr(cell, partner)] = LETTERS[word_of(cell)]
    return Grid(
        releases=tuple(partners),
        rows=tuple(
            GridRow(
                scenario=scenario,
                variant=variant,
                letters=tuple(row.get(name, _NO_CELL) for name in partners),
            )
            for (scenario, variant), row in rows.items()
        ),
    )
