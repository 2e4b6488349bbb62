"""`nox -s bench`: the fork server beside its floor, and what one new release costs.

The floor is what cannot be done without: third-party packages imported once, each release's
own modules once, and per load one bare ``torch.load`` and ``load_state_dict`` in a process
that is there already; all but the first over the cores. Beside it, the floor of whoever gives
every load a process of its own, as isolation asks. Everything is timed in this one run, sources
fetched first. `measuring` is the run alone, without reading and judging evidence.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from helpers.running import broken_copy
from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.releases import Release
from matrix.errors import MatrixError
from matrix.lane import sources
from matrix.lane.environment import WORKER, worker_environment
from matrix.lane.execution import execute
from matrix.lane.local import LocalRunner
from matrix.lane.run import Run, RunOptions
from matrix.lane.sources import FetchedSources
from matrix.lane.threads import ThreadExecutor
from matrix.plan.cells import Plan, plan_cells
from matrix.store.store import Store

CORES = os.cpu_count() or 1
SAMPLE = 6
"""Releases that a bare load is timed in."""

IMPORTS = """
import importlib, os, re, sys
text = open(sys.argv[1]).read()
for name in re.findall(r'"([\\w.]+)",', text.partition("_SHARED = (")[2].partition(")")[0]):
    try:
        importlib.import_module(name)
    except Exception:
        pass
os._exit(0)  # letting go of all that again is not part of importing it
"""


def third_party() -> float:
    """Import in a bare interpreter what the fork server imports."""
    began = time.perf_counter()
    command = [sys.executable, "-c", IMPORTS, str(WORKER / "forkserver.py")]
    subprocess.run(command, check=True, env=worker_environment(), capture_output=True)
    return time.perf_counter() - began


def own_modules(releases: list[Release]) -> float:
    """Sum up what each release's own modules take to import."""
    total = 0.0
    with tempfile.TemporaryDirectory() as logs, LocalRunner(Path(logs)) as host:
        for release in releases:
            process = host.open(release, FetchedSources(offline=True).get(release), "cpu")
            total += process.hello.import_seconds
            process.close()
    return total


def bare_load(release: Release) -> list[float]:
    """Return what a bare load takes: in a process of its own, and in one that is there."""
    recipe = json.dumps(scenarios.load()["autocast"].request)
    source = str(FetchedSources(offline=True).get(release))
    command = [sys.executable, "-P", str(Path(__file__).with_name("bare.py"))]
    command += [source, release.version, recipe, release.opt_in or ""]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=worker_environment()
    )
    return [float(seconds) for seconds in done.stdout.split()[-2:]]


def a_plan(releases: list[Release]) -> Plan:
    variants = {name: scenarios.variants()[name] for name in ("plain", "remapped")}
    recipes = {"autocast": scenarios.load()["autocast"]}
    return plan_cells(faq.load(), recipes, variants, releases, releases)


def measuring(made: Plan, store: Store, *, every: bool = False) -> tuple[float, int]:
    """Run a plan; return seconds and how many loads were done."""
    began = time.perf_counter()
    options = RunOptions(CORES, every_cell=every)
    run = Run(made, store, FetchedSources(offline=True), options, None)
    before = len(store.saves())
    execute(run, ThreadExecutor(LocalRunner(sources.cache_folder() / "logs")))
    return time.perf_counter() - began, run.measured - (len(store.saves()) - before)


def fetched(names: list[str]) -> list[Release]:
    found = []
    for release in releases.load().releases:
        if not names or release.name in names:
            try:
                FetchedSources().get(release)
            except MatrixError:
                continue
            found.append(release)
    return found


def one_new_release(releases: list[Release], store: Store) -> tuple[float, int]:
    """Add a release that saves what no other does: its whole row and column are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        root = broken_copy(
            Path(folder) / "candidate",
            "pytorch/module/base.py",
            r"state = \{\}",
            'state = {"te_matrix_bench": 1}',
        )
        candidate = sources.candidate(root)
        FetchedSources().get(candidate)
        return measuring(a_plan([*releases, candidate]), store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", default="all")
    options = parser.parse_args()
    names = [] if options.releases == "all" else options.releases.split(",")
    releases = fetched(names)
    made = a_plan(releases)
    before = third_party()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        first, loads = measuring(made, store)
        new, new_loads = one_new_release(releases, store)
        every, all_loads = measuring(made, Store(Path(folder) / "every"), every=True)
    # Timed before and after, as other programs may disturb either.
    imports = statistics.mean((before, third_party()))
    modules = own_modules(releases)
    sample = random.Random(0).sample(releases, min(SAMPLE, len(releases)))
    alone, bare = map(statistics.mean, zip(*map(bare_load, sample), strict=True))

    def floor(loads: int, each: float) -> float:
        return imports + (modules + each * loads) / CORES

    table = Table(title=f"{len(releases)} releases, {len(made.cells)} cells, {CORES} cores")
    for heading in ("what", "loads", "seconds", "floor", "ratio", "with a process each", "ratio"):
        table.add_column(heading, justify="right")
    for what, took, count in (
        ("nothing known, each state loaded once", first, loads),
        ("nothing known, every cell loaded", every, all_loads),
        ("one new release, its row and column", new, new_loads),
    ):
        row = [what, str(count), f"{took:.1f}"]
        for least in (floor(count, bare), floor(count, alone)):
            row += [f"{least:.1f}", f"{took / least:.2f}"]
        table.add_row(*row)
    Console().print(table)
    print(f"floor: {imports:.1f} s of third-party imports; over {CORES} cores {modules:.1f} s")
    print(f"of the releases' own modules and {bare * 1000:.1f} ms per load, which are")
    print(f"{alone * 1000:.1f} ms where every load has a process of its own")


if __name__ == "__main__":
    main()
