"""What ``te-matrix bisect`` does: one cell traced to its commit, or all changes of behaviour."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Sequence

from matrix import report
from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.changes import Change, Changes
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.selection import EVERYTHING
from matrix.errors import ExitCode, UsageError, nearest, worst
from matrix.lane import git
from matrix.lane.local import LocalRunner
from matrix.lane.run import RunOptions
from matrix.lane.sources import FetchedSources, cache_folder
from matrix.plan.cells import Cell
from matrix.report.document import Report
from matrix.store.store import Store
from matrix.system.counting import counted
from matrix.system.progress import Progress
from matrix.workflow import attributing
from matrix.workflow.attributing import Attribution, Difference
from matrix.workflow.commit_cells import CommitJudge, ReadOnceStore, Seen, Side, Walked
from matrix.workflow.history import History
from matrix.workflow.locating import Located, locate
from matrix.workflow.selecting import Request, select

Differences = dict[tuple[str, str], list[Difference]]
"""Differences by the newer of two neighbouring releases and the one before it."""
COMMIT_SECONDS = 5.0
"""Processor time that one commit takes, with a few cells: exporting, importing, loading."""
_BASIS_CODES = {"commit": ExitCode.OK}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trace:
    """Where the outcome of a cell changes between two commits."""

    walked: Walked
    """The cell, without the release on its walked side."""
    older: str
    """The commit that comes first."""
    newer: str
    """The other one."""
    good_is_older: bool
    """Whether the older one is the one that was called good."""
    ends: tuple[Seen, Seen]
    """What was seen at the older and at the newer one."""
    located: tuple[Located, ...]
    """The commits at which the outcome changes, on the way from the older to the newer one."""
    judged: dict[str, Seen | None]
    """What was seen of the cell, by commit; None where it could not be judged."""

    @property
    def exit_code(self) -> ExitCode:
        """0 where every change is one commit, 3 where a range is left."""
        return worst(_BASIS_CODES.get(one.basis, ExitCode.INCOMPLETE) for one in self.located)


@dataclasses.dataclass(frozen=True)
class Tracer:
    """A git history, and what measures cells at its commits."""

    history: History
    commits: CommitJudge
    known: Catalogue

    def cell(self, cell: Cell, good: str, bad: str, side: Side, progress: Progress) -> Trace:
        """Trace a cell.

        :param good, bad: releases, tags, branches or commits; either may be the older one.
        :raises UsageError: there is no such cell or ref, or both ends show the same.
        :raises UnjudgedError: an end cannot be judged.
        """
        walked = self._checked(cell, side)
        ends = self.history.commit(good), self.history.commit(bad)
        good_is_older = self.history.comes_first(*ends)
        older, newer = ends if good_is_older else ends[::-1]
        self.commits.between(older, newer)

        def look(commit: str) -> Seen | None:
            if walked not in self.commits.judged.get(commit, {}):
                seen = self.commits.seen(commit, [walked])[walked]
                shown = seen.text if seen else "cannot be judged, skipped"
                progress.say(f"{commit[:9]} {self.history.describe(commit).date[:10]} {shown}")
            return self.commits.judged[commit][walked]

        located = locate(self.history, self.commits, older, newer, walked, look)
        first, last = look(older), look(newer)
        assert first is not None and last is not None
        if not located:
            raise UsageError(
                f"nothing changes: {good} and {bad} both show {first.text}",
                do="Name a good and a bad end that differ in this cell",
            )
        judged = {commit: seen[walked] for commit, seen in self.commits.judged.items()}
        return Trace(
            walked=walked,
            older=older,
            newer=newer,
            good_is_older=good_is_older,
            ends=(first, last),
            located=tuple(located),
            judged=judged,
        )

    def _checked(self, cell: Cell, side: Side) -> Walked:
        """Return a cell with one side open.

        :raises UsageError: its scenario, variant or other release is unknown, or its variant
            applies to no commit.
        """
        for kind, name, names in (
            ("scenario", cell.scenario, scenarios.load()),
            ("variant", cell.variant, scenarios.variants()),
        ):
            if name not in names:
                raise UsageError(f"there is no {kind} {name}", do=nearest(name, names))
        if scenarios.variants()[cell.variant].form is not None:
            raise UsageError(
                f"{cell.variant} applies to releases of the catalogue alone, and not to commits",
                do="Trace the cell with variant plain",
            )
        walked = Walked.of(cell, side)
        self.known[walked.partner]
        return walked

    def all(
        self,
        found: Differences,
        made: Report,
        progress: Progress,
    ) -> Iterator[list[Change]]:
        """Yield the rows of the table for each pair of neighbouring releases, oldest first.

        :param found: see :func:`attributing.differences`.
        :param made: the report that they are from.
        """
        order = releases.order(())
        for (release, after), members in found.items():
            progress.start(f"{after} -> {release}", len(members))
            runs = self.commits.runs
            steps = []
            for step in Attribution(self.history, self.commits, members).steps():
                steps.append(step)
                progress.step(release)
            rows = list(attributing.merged(steps, made, order))
            progress.say(f"{after} -> {release}: {counted(self.commits.runs - runs, 'commit')} run")
            yield rows


@contextlib.contextmanager
def opened(
    store: Store, git_url: str | None, options: RunOptions, *, offline: bool = False
) -> Iterator[Tracer]:
    """Return a tracer; leaving the context ends its processes.

    :param store: what is in it is not measured again, and what is measured is added.
    :param offline: whether history and sources of releases are taken from the cache alone.
    :raises SourceUnavailable: the repository cannot be used.
    """
    history = History(git.chosen_url(git_url), offline=offline)
    known = releases.load()
    code = FetchedSources(history.repository, offline=offline)
    with LocalRunner(cache_folder() / "logs") as runner:
        kept = ReadOnceStore(store.url)
        commits = CommitJudge(history.repository, kept, known, faq.load(), runner, code, options)
        yield Tracer(history, commits, known)


def differences(request: Request, store: Store) -> tuple[Differences, Report]:
    """Return the differences between neighbouring releases, and the report they are from.

    :param request: its releases are those whose differences from the one before are wanted; the
        differences show in cells with any release.
    :raises UsageError: it selects no release at which behaviour changes.
    """
    everything = request.replace(releases=None)
    selected = select(everything, store, defaults=EVERYTHING)
    made = report.build(selected.judge(datetime.date.min), selected.documentation)
    found = attributing.differences(made, releases.order(()))
    wanted = _wanted(request)
    found = {place: members for place, members in found.items() if place[0] in wanted}
    if not found:
        raise UsageError(
            "at none of these releases a behaviour changes",
            do="`te-matrix bands` lists the releases at which it does",
        )
    return found, made


def _wanted(request: Request) -> set[str]:
    return set(select(request, defaults=EVERYTHING).plan.releases)


def estimate(found: Differences, history: History) -> tuple[int, float]:
    """Return how many commits have to be judged about, and the processor time that takes.

    A search halves the range; the searches of one pair of releases share most of their commits.
    """
    commits = 0.0
    for (release, after), members in found.items():
        try:
            ends = history.commit(after), history.commit(release)
        except UsageError:
            continue
        length = len(history.between(ends[:1], ends[1]))
        kinds = len({member.ends for member in members})
        commits += 3 + max(length, 2).bit_length() * max(1.0, kinds**0.5)
    return round(commits), commits * COMMIT_SECONDS


def exit_code(rows: Sequence[Change]) -> ExitCode:
    """Return 0 where every change is one commit, 3 where a range is left or nothing is known."""
    return worst(_BASIS_CODES.get(row.basis, ExitCode.INCOMPLETE) for row in rows)


def with_rows(table: Changes, rows: Sequence[Change]) -> Changes:
    """Return a table with the rows of a pair of releases replaced by new ones."""
    return attributing.joined(table, rows, releases.order(()))
