"""Print judgements and the progress of runs."""

from __future__ import annotations

import threading

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from matrix.catalogue.words import Standing
from matrix.errors import ExitCode
from matrix.report import standings
from matrix.report.document import BandRow, Bands
from matrix.report.printout import MOST, Printout
from matrix.report.qualification import Qualification
from matrix.system.counting import counted
from matrix.system.progress import Progress

PLAIN_EVERY = 200
"""Number of steps between two lines of progress where there is no terminal."""
_UNLIMITED = 10**6
"""More characters than any table is wide."""


def print_judgement(console: Console, printout: Printout) -> None:
    """Print the tables of bands, the totals, and what is wrong: failures, controls, entries."""
    for table in printout.tables:
        print_table(console, _band_table(table))
    for line in printout.lines:
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
            for line in standings.lines(qualification, standing, MOST):
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
