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
from collections.abc import Sequence
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
"""Releases that a bare load of a scenario is timed in."""
MOST = 40
"""Bare loads that are timed at most."""
QUICK = ("autocast",)
"""The scenarios where no others are asked for."""

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


def bare_load(release: Release, scenario: str) -> list[float]:
    """Return what a bare load takes: in a process of its own, and in one that is there.

    It is empty where the release does not load its own save.
    """
    recipe = json.dumps(scenarios.load()[scenario].request)
    source = str(FetchedSources(offline=True).get(release))
    command = [sys.executable, "-P", str(Path(__file__).with_name("bare.py"))]
    command += [source, release.version, recipe, release.opt_in or ""]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=worker_environment()
    )
    return [float(seconds) for seconds in done.stdout.split()[-2:]] if not done.returncode else []


def bare_loads(names: Sequence[str], releases: list[Release]) -> tuple[float, float]:
    """Return the means of bare loads of some releases in some scenarios, see `bare_load`."""
    usual = [name for name in names if not scenarios.load()[name].scenario.transport.distributed]
    pairs = [(r, name) for r in releases for name in usual if scenarios.load()[name].is_saved_by(r)]
    sample = random.Random(0).sample(pairs, min(SAMPLE * len(usual), MOST, len(pairs)))
    found = [each for each in (bare_load(release, name) for release, name in sample) if each]
    alone, bare = map(statistics.mean, zip(*found, strict=True))
    return alone, bare


def a_plan(releases: list[Release], names: Sequence[str]) -> Plan:
    """Return the plan of some scenarios: in all variants, unless it is `autocast` alone."""
    known, variants = scenarios.load(), scenarios.variants()
    if names == QUICK:
        variants = {name: variants[name] for name in ("plain", "remapped")}
    chosen = {name: known[name] for name in names}
    return plan_cells(faq.load(), chosen, variants, releases, releases)


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


def one_new_release(
    releases: list[Release], names: Sequence[str], store: Store
) -> tuple[float, int]:
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
        return measuring(a_plan([*releases, candidate], names), store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", default="all")
    parser.add_argument("--scenario", default=",".join(QUICK), help="NAME,... or all")
    options = parser.parse_args()
    releases = fetched([] if options.releases == "all" else options.releases.split(","))
    every_one = options.scenario == "all"
    names = tuple(scenarios.load() if every_one else options.scenario.split(","))
    made = a_plan(releases, names)
    before = third_party()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        first, loads = measuring(made, store)
        rows = [("nothing known, each state loaded once", first, loads)]
        if names == QUICK:
            again = Store(Path(folder) / "every")
            rows.append(("nothing known, every cell loaded", *measuring(made, again, every=True)))
        new = one_new_release(releases, names, store)
        rows.append(("one new release, its row and column", *new))
    # Timed before and after, as other programs may disturb either.
    imports = statistics.mean((before, third_party()))
    modules = own_modules(releases)
    alone, bare = bare_loads(names, releases)

    def floor(loads: int, each: float) -> float:
        return imports + (modules + each * loads) / CORES

    table = Table(title=f"{len(releases)} releases, {len(made.cells)} cells, {CORES} cores")
    for heading in ("what", "loads", "seconds", "floor", "ratio", "with a process each", "ratio"):
        table.add_column(heading, justify="right")
    for what, took, count in rows:
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
