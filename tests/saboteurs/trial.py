"""Tries spoilt releases as candidates, and holds what is said of them against the table."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from matrix.catalogue.selection import Selection
from matrix.catalogue.words import Standing
from matrix.errors import ExitCode
from matrix.lane import git
from matrix.lane.local import LocalRunner
from matrix.lane.process import ReleaseProcess
from matrix.lane.run import RunOptions
from matrix.lane.runner import Runner
from matrix.lane.sources import CodeSource, cache_folder, candidate
from matrix.plan import estimate
from matrix.report.document import Report
from matrix.report.qualification import StandingGroup
from matrix.store.store import Store
from matrix.system.progress import Progress
from matrix.workflow import measuring, qualifying
from matrix.workflow.containers import ContainerOptions
from matrix.workflow.runners import RunnerFactory
from matrix.workflow.selecting import Request, Selected, select
from saboteurs import planting
from saboteurs.table import HERE, SPOILT, Bench, Saboteur

TODAY = datetime.date(2026, 11, 24)
_CONTAINERS = ContainerOptions(allow_unpinned=False, gpu=None, memory="1g", keep_images=None)


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of one saboteur.

    :param exit_code: the qualification's.
    :param wounded: what is worse: cells as SAVER->LOADER, X for the spoilt release, saves and
        controls.
    :param complaints: where the report does not say what it must; none: it was caught.
    """

    fault: str
    bench: str
    summary: str
    exit_code: int
    wounded: tuple[str, ...]
    complaints: tuple[str, ...]


class SharedHost:
    """A fork server that several runs use one after the other."""

    resident = True

    def __init__(self, host: LocalRunner) -> None:
        self._host = host

    def __enter__(self) -> SharedHost:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def open(self, *what: object) -> ReleaseProcess:
        """Start a process for one release."""
        return self._host.open(*what)  # type: ignore[arg-type]


@contextlib.contextmanager
def shared_host(logs: Path) -> Iterator[Runner]:
    """Start a fork server and end it when left.

    :param logs: folder for one log per release.
    """
    with LocalRunner(logs) as host:
        yield SharedHost(host)


@dataclasses.dataclass(frozen=True)
class _Factory(RunnerFactory):
    """Runs every selection on a host that is there already.

    :param host: the host.
    """

    host: Runner

    def __call__(self, progress: Progress | None = None) -> tuple[CodeSource, Runner]:
        return self.sources(), self.host


class Court:
    """One bench: spoilt copies of its release are qualified against the release itself.

    What is shipped on that release is the baseline. Where cells of the bench are not, as in a
    scenario of these trials alone, the release is measured first.

    :param folder: where stores and spoilt copies go.
    """

    def __init__(self, bench: Bench, folder: Path, host: Runner) -> None:
        self._bench = bench
        self._folder = folder
        self._host = host
        # One store for all: what the others save is measured once.
        self._store = Store(folder / "store")
        self._against = bench.release
        if not self._is_recorded():
            self._against = str(folder / "whole")
            self._measure_whole()

    def try_one(self, saboteur: Saboteur) -> Finding:
        """Plant a fault, and hold what is said of it against what must be said."""
        return verdict(saboteur, self.qualify(saboteur.path))

    def qualify(self, fault: Path) -> Report:
        """Spoil the release, and do what ``te-matrix qualify`` does with it."""
        root = planting.plant(fault, self._bench.release, self._folder / fault.stem)
        selected = qualifying.plan(self._request(str(root)), self._store)
        try:
            return qualifying.qualify(
                selected,
                self._store,
                self._factory(selected),
                RunOptions(2),
                TODAY,
                against=self._against,
            ).report
        finally:
            shutil.rmtree(cache_folder() / "sources" / candidate(root).digest, ignore_errors=True)

    def _is_recorded(self) -> bool:
        index = select(self._request()).evidence
        return all(estimate.state(index, cell) for cell in index.plan.cells)

    def _measure_whole(self) -> None:
        store = Store(self._against)
        selected = select(self._request(), store)
        measuring.measure(selected, store, self._factory(selected), RunOptions(2), Progress())

    def _request(self, *candidates: str) -> Request:
        bench = self._bench
        everyone = ",".join(dict.fromkeys((*bench.others, bench.release)))
        selection = Selection(
            saved_by=everyone,
            loaded_by=bench.release if bench.candidate_as == "loader" else everyone,
            scenario=bench.scenario,
            variant=bench.variant,
            candidate=candidates,
            scenario_file=HERE / "scenarios.toml",
        )
        return Request(selection, bench.candidate_as)

    def _factory(self, selected: Selected) -> _Factory:
        url = git.chosen_url(None)
        return _Factory(selected.without_evidence(), _CONTAINERS, url, False, self._host)


def verdict(saboteur: Saboteur, report: Report) -> Finding:
    """Hold a report on a qualification against a row of the table."""
    found = standings(report)
    worse = {thing: group for thing, group in found if group.standing == Standing.WORSE}
    passes = report.exit_code != ExitCode.DEVIATES
    complaints = [
        *_missed(saboteur, found),
        *_wrong(saboteur, worse),
        *_unknown(found),
        *([f"exit code {report.exit_code}, not 1"] if passes else []),
    ]
    return Finding(
        saboteur.fault,
        saboteur.bench,
        saboteur.summary,
        report.exit_code,
        tuple(worse),
        tuple(complaints),
    )


def standings(report: Report) -> list[tuple[str, StandingGroup]]:
    """Return every cell, save and control of a qualification, and the group that it is in.

    A cell is SAVER->LOADER, X for the candidate; a save is ``save``, a control ``control NAME``.
    """
    assert report.qualification is not None
    (match,) = report.qualification.matches
    return [
        (_short(thing, group).replace(match.name, SPOILT), group)
        for group in report.qualification.groups
        for thing in group.ids
    ]


def _short(thing: str, group: StandingGroup) -> str:
    if group.control:
        return f"control {group.control}"
    return "save" if group.kind == "saves" else thing.rpartition("/")[2]


def _missed(saboteur: Saboteur, found: Sequence[tuple[str, StandingGroup]]) -> Iterator[str]:
    """Yield what should be worse, and is not."""
    for pattern in (pattern for wound in saboteur.wound for pattern in wound.worse):
        hit = [(thing, group) for thing, group in found if fnmatchcase(thing, pattern)]
        if not hit:
            yield f"nothing is {pattern}"
        for thing, group in hit:
            if group.standing != Standing.WORSE:
                yield f"{thing} is {group.standing.value}: {group.change}"


def _wrong(saboteur: Saboteur, worse: dict[str, StandingGroup]) -> Iterator[str]:
    """Yield what is worse and should not be, or is worse as something else."""
    for thing, group in worse.items():
        wounds = [wound for wound in saboteur.wound if wound.covers(thing)]
        said = f"{group.change}: {group.reason}"
        if not wounds:
            yield f"{thing} is worse: {said}"
        elif not any(w.seen == group.after and w.cause in group.reason for w in wounds):
            yield f"{thing} is worse as another thing: {said}"


def _unknown(found: Sequence[tuple[str, StandingGroup]]) -> Iterator[str]:
    """Yield what has no outcome: a fault of the release must never look like one of ours."""
    for thing, group in found:
        if group.standing == Standing.MISSING:
            yield f"{thing} has no outcome: {group.after}: {group.reason}"
