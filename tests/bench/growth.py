"""`nox -s bench`: what more releases cost, from 10 to 200, in plan, run, judge and report.

The releases are synthetic copies and their store is filled with copies of recorded evidence.
Runs go through a runner that answers at once with recorded answers, so that what is timed is
the harness: once with nothing known, once with one release that is new to the store. The
last line judges 100,000 cells. All seconds are processor time, which other programs disturb
less; the time per cell and its ratio to the first row are what to read.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from helpers import synthetic
from helpers.builders import TODAY
from matrix import report
from matrix.catalogue import faq
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.judge import judge, ledger, outcomes
from matrix.lane.context import ProcessContext
from matrix.lane.execution import execute
from matrix.lane.protocol import Hello, LoadAnswer, Reply, SaveAnswer, WorkerFailure, read_answer
from matrix.lane.run import Run, RunOptions
from matrix.lane.threads import ThreadExecutor
from matrix.plan import estimate
from matrix.plan.cells import Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.records import Load, Save
from matrix.store.store import Store

SIZES = (10, 20, 40, 200)
WHOLE = 40
"""The most releases for which a run with nothing known is timed."""


class Echo:
    """A release process that answers at once."""

    def __init__(self, release: Release, save: Save, load: Load) -> None:
        self.release = release
        self.context = ProcessContext()
        self.hello = Hello(
            release=release.version,
            te_file="",
            te_version=release.version,
            torch="2",
            python="3",
            machine="m",
            opt_in=None,
            modules=(),
            recipes=(),
        )
        fields = {"keys", "parts", "outcome", "error", "flaws"}
        answer = {**save.model_dump(mode="json", include=fields), "gaps": []}
        self._saved = {**answer, "state_digest": release.digest}
        keys = {"missing_keys", "unexpected_keys", "changed_keys", "lost_recipes"}
        loaded = {"stage", "error", "parts", "after_load", "changed_weights", *keys}
        self._loaded = {**load.model_dump(mode="json", include=loaded), "gaps": []}

    def save(self, _recipe: Any, path: Path, *_arguments: Any) -> SaveAnswer | WorkerFailure:
        path.write_bytes(self.release.name.encode())
        return read_answer(SaveAnswer, Reply(answer=self._saved, seconds=0.0))

    def load(self, *_arguments: Any) -> LoadAnswer | WorkerFailure:
        return read_answer(LoadAnswer, Reply(answer=self._loaded, seconds=0.0))

    def enter(self, *_arguments: Any) -> None:
        pass

    def close(self) -> None:
        pass


class Echoes:
    """A runner of such processes."""

    resident = True

    def __init__(self) -> None:
        kept = recorded.evidence(Lane.CPU)
        assert kept is not None
        records = [record for record in kept.records() if record.scenario == "autocast"]
        self._save = next(r for r in records if isinstance(r, Save) and r.release == "2.15")
        loads = [r for r in records if isinstance(r, Load) and r.variant == "plain"]
        self._load = next(r for r in loads if outcomes.result(self._save, r).outcome == "loaded")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def open(self, release: Release, _source: Path | None, _lane: str) -> Any:
        return Echo(release, self._save, self._load)


class Nowhere:
    """FetchedSources that need not be fetched."""

    def get(self, _release: Release) -> None:
        return None


def seconds(do: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of processor time that this process took, and what came of it."""
    began = time.process_time()
    found = do()
    return time.process_time() - began, found


def run(made: Plan, store: Store) -> int:
    running = Run(made, store, Nowhere(), RunOptions(jobs=2), None)
    execute(running, ThreadExecutor(Echoes()))
    return running.measured


def one_more(releases: int) -> tuple[Plan, Plan]:
    """Return a plan, and the same plan with one release more."""
    grown = synthetic.a_plan(releases + 1)
    fewer = grown.savers[:-1]
    names = {release.name for release in fewer}
    cells = tuple(c for c in grown.cells if {c.saved_by, c.loaded_by} <= names)
    return dataclasses.replace(grown, savers=fewer, loaders=fewer, cells=cells), grown


def measure(releases: int) -> dict[str, tuple[float, int]]:
    """Return seconds, and the cells that they were for, of each step."""
    found: dict[str, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if releases <= WHOLE:
            made = synthetic.a_plan(releases)
            took, count = seconds(lambda: run(made, Store(place / "whole")))
            found["run, nothing known"] = took, count
        made, grown = one_more(releases)
        store = Store(place / "store")
        run(made, store)
        took, count = seconds(lambda: run(grown, store))
        found["run, one release new"] = took, count
        took, index = seconds(lambda: EvidenceIndex(made, store, None))
        found["read the store"] = took, len(made.cells)
        took, _made = seconds(lambda: synthetic.a_plan(releases))
        more, _cost = seconds(lambda: estimate.estimate(index, None, 0))
        found["plan"] = took + more, len(made.cells)
        documentation, entries = faq.load(), ledger.load()
        took, judged = seconds(lambda: judge.judge(index, documentation, entries, TODAY))
        found["judge"] = took, len(made.cells)
        took, _page = seconds(lambda: report.write(judged, documentation, place / "report"))
        found["report"] = took, len(made.cells)
    return found


def show(found: dict[int, dict[str, tuple[float, int]]]) -> None:
    table = Table(title="what more releases cost")
    for heading in ("step", "releases", "cells", "seconds", "ms per cell", "ratio per cell"):
        table.add_column(heading, justify="right")
    steps = dict.fromkeys(step for steps in found.values() for step in steps)
    for step in steps:
        first = 0.0
        for releases, measured in found.items():
            if step in measured:
                took, count = measured[step]
                each = took / count
                first = first or each
                row = (step, str(releases), str(count), f"{took:.3f}", f"{each * 1000:.3f}")
                table.add_row(*row, f"{each / first:.2f}")
    Console().print(table)


def many_cells(releases: int) -> None:
    """Judge three scenarios of so many releases."""
    made = synthetic.a_plan(releases, ("autocast", "attention-only", "fp8-weights"))
    index = EvidenceIndex(made, None, None)
    for record in synthetic.records(made):
        index.add(record)
    documentation, entries = faq.load(), ledger.load()
    wall, _judged = seconds(lambda: judge.judge(index, documentation, entries, TODAY))
    print(f"judging {len(made.cells)} cells: {wall:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--many", type=int, default=183, help="releases of the last table")
    options = parser.parse_args()
    show({releases: measure(releases) for releases in options.sizes})
    many_cells(options.many)


if __name__ == "__main__":
    main()
