"""Print judgements and the progress of runs."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from matrix.catalogue import ranges, releases
from matrix.catalogue.words import Absence, Standing, Verdict
from matrix.errors import ExitCode
from matrix.judge.judgement import ControlCheck, JudgedCell, Judgement
from matrix.judge.summary import lacking_releases
from matrix.report import overview, standings
from matrix.report.cells import one_line
from matrix.report.document import BandRow, Bands, Report
from matrix.report.overview import Overview
from matrix.report.qualification import Qualification
from matrix.system.counting import counted
from matrix.system.progress import Progress

PLAIN_EVERY = 200
"""Number of steps between two lines of progress where there is no terminal."""
_TABLES = 8
"""The most tables of bands that are printed."""
_NOT_MEASURED = (Absence.NOT_RUN, Absence.UNAVAILABLE)
_CAUSES = 20
"""The most causes, cells or controls that are printed of one kind; the report has them all."""
_UNLIMITED = 10**6
"""More characters than any table is wide."""
_LISTED = (Verdict.DEVIATES, Verdict.INFRA, Verdict.INCONCLUSIVE)


def print_judgement(console: Console, judgement: Judgement, report: Report) -> None:
    """Print the tables of bands, the totals, and what is wrong: failures, controls, entries.

    Of more tables than a reader would scroll through, a line for each scenario is printed.

    :param report: the judgement's report.
    """
    if len(report.bands) <= _TABLES:
        for table in report.bands:
            print_table(console, _band_table(table))
    else:
        for line in _overview_lines(overview.of(report)):
            _line(console, line)
        _line(
            console,
            f"{len(report.bands)} tables of bands are not printed; the report's page has them, and"
            " `te-matrix judge --scenario NAME --variant NAME` prints one",
        )
    totals = ", ".join(
        f"{count} {verdict.value}" for verdict, count in report.totals.items() if count
    )
    counts, binding = report.evidence, f", binding {report.binding}" if report.binding else ""
    _line(console, f"{counted(report.planned, 'cell')} planned: {totals}")
    _line(
        console,
        f"evidence: {counts.live} live, {counts.recorded} recorded, {counts.without} without "
        f"(lane {report.lane.value}, runner {report.runner.value}{binding})",
    )
    for line in _failures(judgement):
        _line(console, line)


def print_qualification(
    console: Console, qualification: Qualification, *, worse: bool = True
) -> None:
    """Print what was compared with what, what is worse, better and changed, and the answer.

    :param worse: whether to list what is worse or missing, which the gate does by itself.
    """
    listed = {Standing.BETTER, Standing.CHANGED}
    if worse:
        listed |= {Standing.WORSE, Standing.MISSING}
    for match in qualification.matches:
        _line(console, f"candidate: {match.name} from {match.source}, digest {match.digest}")
        _line(console, f"baseline:  {match.baseline}, {qualification.evidence}")
    for standing in Standing:
        if standing in listed:
            for line in standings.lines(qualification, standing, _CAUSES):
                _line(console, line)
    _line(console, qualification.totals)
    if inherited := qualification.inherited:
        _line(
            console,
            f"inherited: {counted(inherited, 'cell')}, the same as before, with metadata lost or a "
            "failed load; the report lists them",
        )
    styles = {ExitCode.OK: "green", ExitCode.DEVIATES: "red"}
    style = styles.get(ExitCode(qualification.exit_code), "yellow")
    _line(console, qualification.sentence, style)


def print_table(console: Console, table: Table) -> None:
    """Print a table: within a terminal's width, and where there is none, as wide as it is.

    Logs are searched, and what they hold is copied: keys and messages stay on one line there.
    """
    if not console.is_terminal:
        unlimited = console.options.update(width=_UNLIMITED)
        width = Measurement.get(console, unlimited, table).maximum
        console = Console(file=console.file, width=width)
    console.print(table)


def _line(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _band_table(table: Bands) -> Table:
    shown = Table(
        title=f"{table.scenario}, {table.variant}: documented -> observed (cells)",
        title_justify="left",
        show_lines=True,
    )
    shown.add_column("loaded by \\ saved by")
    for band in table.bands:
        shown.add_column(band)
    fields = {(row.loaded_by, row.saved_by): row for row in table.rows}
    for loader in table.bands:
        row = [fields[loader, saver] for saver in table.bands]
        texts = [f"{one.documented} ->\n{_counts(one)}" if one.observed else "" for one in row]
        shown.add_row(loader, *texts)
    return shown


def _counts(row: BandRow) -> str:
    return ", ".join(f"{word} {count}" for word, count in row.observed.items())


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
    return lines + _listed(_cells(bad), "causes" if len(bad) > _CAUSES else "cells")


def _listed(lines: Sequence[str], what: str) -> list[str]:
    more = [f"... and {len(lines) - _CAUSES} more {what}; the report has them all"]
    return [*lines[:_CAUSES], *(more if len(lines) > _CAUSES else [])]


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
    if len(bad) <= _CAUSES:
        return [f"{v.verdict.value}: {v.cell.id}: {_why(v)}" for v in bad]
    found = Counter(f"{v.verdict.value}: {_why(v)}" for v in bad)
    return [f"{line}: {counted(count, 'cell')}" for line, count in found.most_common()]


def _why(verdict: JudgedCell) -> str:
    if verdict.error:
        message = one_line(verdict.error.message)[:120]
        return f"{verdict.outcome} at {verdict.stage}: {verdict.error.type}: {message}"
    return one_line(verdict.note) or f"documented {verdict.documented.outcome}, {verdict.seen}"


def progress(console: Console) -> Progress:
    """Return a progress display: a bar on a terminal, plain lines elsewhere."""
    return _Bar(console) if console.is_terminal else _Lines(console)


class _Lines(Progress):
    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._what, self._total, self._done = "", 0, 0

    def start(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        if total:
            self.say(f"{what}: {total} to do")

    def step(self, release: str) -> None:
        with self._lock:
            self._done += 1
            if self._done % PLAIN_EVERY == 0 or self._done == self._total:
                left = self._total - self._done
                self.say(f"{self._what}: {self._done} done, {left} left ({release})")

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Bar(Progress):
    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[release]}"),
        )
        self._bar = RichProgress(*columns, console=console)
        self._task: TaskID | None = None

    def start(self, what: str, total: int) -> None:
        if total:
            self._task = self._bar.add_task(what, total=total, release="")
            self._bar.start()

    def step(self, release: str) -> None:
        assert self._task is not None
        self._bar.update(self._task, advance=1, release=release)

    def stop(self) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
