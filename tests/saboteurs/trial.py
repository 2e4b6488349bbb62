"""Tries spoilt releases as candidates, and holds what the gate says against the table."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from matrix.catalogue.selection import Selection
from matrix.cli import main
from matrix.lane.execution import execute
from matrix.lane.local import LocalRunner
from matrix.lane.process import ReleaseProcess
from matrix.lane.run import Run, RunOptions
from matrix.lane.runner import Runner
from matrix.lane.sources import FetchedSources, cache_folder, candidate
from matrix.lane.threads import ThreadExecutor
from matrix.report.cells import ReportCell
from matrix.report.document import Report, read
from matrix.store import recorded
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select
from saboteurs import planting
from saboteurs.table import HERE, SPOILT, Bench, Saboteur

TODAY = "2026-11-24"
PASSES = ("conforms", "known-deviation", "undocumented")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of one saboteur.

    :param exit_code: the gate's.
    :param wounded: the cells that failed, SAVER->LOADER, X for the spoilt release.
    :param complaints: where the gate did not say what it must; none: it was caught.
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


class Court:
    """One bench: the whole release qualified once, then spoilt copies of it tried.

    :param folder: where stores, reports and spoilt copies go.
    """

    def __init__(self, bench: Bench, folder: Path, host: Runner) -> None:
        self._bench = bench
        self._folder = folder
        self._host = host
        self._run(folder / "whole")

    def _run(self, place: Path, *candidate: str) -> None:
        """Do what ``te-matrix run --no-gate`` does, on a host that is there already."""
        bench = self._bench
        selection = Selection(
            saved_by=",".join((*bench.savers, bench.release)),
            loaded_by=bench.release,
            scenario=bench.scenario,
            variant=bench.variant,
            candidate=candidate,
            scenario_file=HERE / "scenarios.toml",
        )
        selected = select(Request(selection, bench.candidate_as))
        store = Store(place / "store")
        archive = recorded.evidence(selected.plan.lane)
        run = Run(selected.plan, store, FetchedSources(), RunOptions(2), archive)
        execute(run, ThreadExecutor(self._host))
        store.remember(selection)

    def measure(self, fault: Path) -> Path:
        """Spoil the release, run it as a candidate, and return the folder of what was seen."""
        place = self._folder / fault.stem
        shutil.copytree(self._folder / "whole" / "store", place / "store")
        root = planting.plant(fault, self._bench.release, place / "candidate")
        self._run(place, str(root))
        shutil.rmtree(cache_folder() / "sources" / candidate(root).digest)
        return place

    def judge(self, place: Path) -> tuple[int, Report]:
        """Have the gate judge a folder; return its exit code and the report."""
        words = ["--store", str(place / "store"), "--today", TODAY]
        words += ["--candidate-as", self._bench.candidate_as]
        policy = ["--policy", self._bench.policy]
        if self._bench.policy == "no-regression":
            policy += ["--baseline", str(self._folder / "whole" / "store")]
        gate = CliRunner().invoke(main, ["gate", *words, *policy])
        told = CliRunner().invoke(main, ["report", *words, "--report", str(place)])
        assert told.exit_code == 0, told.output
        return gate.exit_code, read(place / "report.json")

    def try_one(self, saboteur: Saboteur) -> Finding:
        """Plant a fault, and hold what the gate says against what it must say."""
        return verdict(saboteur, *self.judge(self.measure(saboteur.path)))


def verdict(saboteur: Saboteur, exit_code: int, report: Report) -> Finding:
    """Hold the gate's exit code and the report's cells against a row of the table."""
    (name,) = [row.name for row in report.releases if row.candidate]
    cells = {f"{c.saved_by}->{c.loaded_by}".replace(name, SPOILT): c for c in report.cells}
    failing = {key: c for key, c in cells.items() if c.verdict not in PASSES}
    complaints = [
        *_missed(saboteur, cells),
        *_wrong(saboteur, failing, name),
        *([] if exit_code == saboteur.exit else [f"exit code {exit_code}, not {saboteur.exit}"]),
    ]
    return Finding(
        saboteur.fault,
        saboteur.bench,
        saboteur.summary,
        exit_code,
        tuple(failing),
        tuple(complaints),
    )


def _missed(saboteur: Saboteur, cells: dict[str, ReportCell]) -> Iterator[str]:
    """Yield what should have failed, and did not."""
    for wound in saboteur.wound:
        hit = [key for key in cells if wound.covers(key)]
        if not hit:
            yield f"no cell is {wound.cells}"
        for key in hit:
            if cells[key].verdict in PASSES:
                yield f"{key} passes: {cells[key].seen}"


def _wrong(saboteur: Saboteur, failing: dict[str, ReportCell], name: str) -> Iterator[str]:
    """Yield what failed and should not have, or failed as something else."""
    for key, cell in failing.items():
        wounds = [wound for wound in saboteur.wound if wound.covers(key)]
        reason = f"documented {cell.documented}, {cell.seen}: {cell.reason}".replace(name, SPOILT)
        if not wounds:
            yield f"{key} fails: {reason}"
        elif not any(w.seen == cell.seen and w.cause in reason for w in wounds):
            yield f"{key} fails as another thing: {reason}"
