"""What commands print of a judgement: tables of bands, totals, and what is wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

from matrix.catalogue import ranges, releases
from matrix.catalogue.words import Absence, Verdict
from matrix.judge.judgement import ControlCheck, JudgedCell, Judgement
from matrix.judge.summary import lacking_releases
from matrix.report import overview
from matrix.report.cells import ReportModel, one_line
from matrix.report.document import Bands, Report
from matrix.report.overview import Overview
from matrix.system.counting import counted

MOST = 20
"""The most causes, cells or controls that are printed of one kind; the report has them all."""
_TABLES = 8
"""The most tables of bands that are printed."""
_NOT_MEASURED = (Absence.NOT_RUN, Absence.UNAVAILABLE)
_LISTED = (Verdict.DEVIATES, Verdict.INFRA, Verdict.INCONCLUSIVE)


class Printout(ReportModel):
    """A judgement as commands print it."""

    tables: tuple[Bands, ...]
    """The tables of bands that are printed."""
    lines: tuple[str, ...]
    """The lines below them."""


def of(judgement: Judgement, report: Report) -> Printout:
    """Return what is printed of a judgement.

    Of more tables than a reader would scroll through, it has a line for each scenario.

    :param report: the judgement's report.
    """
    many = len(report.bands) > _TABLES
    lines = [*(_instead_of_tables(report) if many else ()), *_totals(report)]
    lines += _failures(judgement)
    return Printout(tables=() if many else report.bands, lines=tuple(lines))


def _instead_of_tables(report: Report) -> Iterator[str]:
    yield from _overview_lines(overview.of(report))
    yield (
        f"{len(report.bands)} tables of bands are not printed; the report's page has them, and"
        " `te-matrix judge --scenario NAME --variant NAME` prints one"
    )


def _totals(report: Report) -> Iterator[str]:
    totals = ", ".join(
        f"{count} {verdict.value}" for verdict, count in report.totals.items() if count
    )
    counts, binding = report.evidence, f", binding {report.binding}" if report.binding else ""
    yield f"{counted(report.planned, 'cell')} planned: {totals}"
    yield (
        f"evidence: {counts.live} live, {counts.recorded} recorded, {counts.without} without "
        f"(lane {report.lane.value}, runner {report.runner.value}{binding})"
    )


def _overview_lines(found: Overview) -> Iterator[str]:
    yield f"Variant {found.variant}, in how many cells:"
    width = max((len(line.traits.scenario) for line in found.lines), default=0)
    for line in found.lines:
        counts = [f"{word} {line.counts[word]}" for word in found.words if line.counts.get(word)]
        deviate = f"; deviating {line.deviating}" if line.deviating else ""
        yield f"  {line.traits.scenario:{width}}  {', '.join(counts)}{deviate}"


def _failures(judgement: Judgement) -> list[str]:
    lines = []
    for check in judgement.saves:
        if not check.conforms:
            lines.append(
                f"save {check.release} ({check.scenario}): metadata under {check.observed}, "
                f"documented {check.documented}"
            )
    lines += [
        f"ledger entry {check.entry.id} is {check.state.value}"
        for check in judgement.failing_entries
    ]
    lines += _listed(_controls(judgement), "controls")
    lacking = [lack for lack in lacking_releases(judgement) if lack.verdict in _LISTED]
    lines += [lack.sentence for lack in lacking]
    bad = [v for v in judgement.verdicts if v.verdict in _LISTED and not v.lacking]
    return lines + _listed(_cells(bad), "causes" if len(bad) > MOST else "cells")


def _listed(lines: Sequence[str], what: str) -> list[str]:
    more = [f"... and {len(lines) - MOST} more {what}; the report has them all"]
    return [*lines[:MOST], *(more if len(lines) > MOST else [])]


def _controls(judgement: Judgement) -> list[str]:
    """Return the controls that came out wrong, those of several releases and scenarios once."""
    order = releases.order(judgement.plan.releases)
    alike: dict[tuple[object, ...], list[ControlCheck]] = {}
    for control in judgement.controls:
        known = control.good or control.verdict == Verdict.KNOWN_DEVIATION
        if not (known or control.lacking) and control.observed not in _NOT_MEASURED:
            key = control.control, control.required, control.observed, one_line(control.note)
            alike.setdefault(key, []).append(control)
    return [_control(group, order) for group in alike.values()]


def _control(group: Sequence[ControlCheck], order: Sequence[str]) -> str:
    scenarios = dict.fromkeys(control.scenario for control in group)
    named = ranges.text({control.release for control in group}, order)
    return f"{', '.join(scenarios)}: {dataclasses.replace(group[0], release=named).sentence}"


def _cells(bad: Sequence[JudgedCell]) -> list[str]:
    """Return a line for each cell; for each cause, where there are many cells."""
    if len(bad) <= MOST:
        return [f"{v.verdict.value}: {v.cell.id}: {_why(v)}" for v in bad]
    found = Counter(f"{v.verdict.value}: {_why(v)}" for v in bad)
    return [f"{line}: {counted(count, 'cell')}" for line, count in found.most_common()]


def _why(verdict: JudgedCell) -> str:
    if verdict.error:
        message = one_line(verdict.error.message)[:120]
        return f"{verdict.outcome} at {verdict.stage}: {verdict.error.type}: {message}"
    return one_line(verdict.note) or f"documented {verdict.documented.outcome}, {verdict.seen}"
