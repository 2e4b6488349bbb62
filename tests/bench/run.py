"""`nox -s bench`: what the fork server and the store are worth, as ratios in one run.

Prints wall times of the whole autocast matrix with nothing known, with every cell
loaded though another has the very same state, of a second run with nothing to do, and
of one process per pair on a sample. FetchedSources are fetched first and not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from matrix.catalogue import releases, scenarios
from matrix.errors import MatrixError
from matrix.lane.environment import WORKER, worker_environment
from matrix.lane.local import LocalRunner
from matrix.lane.sources import FetchedSources


def timed(command: Sequence[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 3):
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - began


def run(store: Path, releases: str, *more: str) -> float:
    command = [sys.executable, "-m", "matrix", "run", "--releases", releases]
    command += ["--scenario", "autocast", "--variant", "plain,remapped", *more]
    return timed([*command, "--store", str(store / "store"), "--report", str(store / "report")])


def fetched(names: list[str]) -> list[releases.Release]:
    """Fetch every source; return the releases whose source is here."""
    sources, found = FetchedSources(), []
    for release in releases.load().releases:
        if not names or release.name in names:
            try:
                sources.get(release)
            except MatrixError:
                continue
            found.append(release)
    return found


def one_process_per_pair(releases: list[releases.Release], pairs: int) -> float:
    """Load a sample of pairs, a fresh interpreter for each; return seconds per pair."""
    recipe = scenarios.load()["autocast"]
    chosen = random.Random(0).choices(releases, k=pairs)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = save_one(releases[0], recipe, Path(folder))
        began = time.perf_counter()
        for loader in chosen:
            fresh_process(loader, recipe, checkpoint)
        return (time.perf_counter() - began) / pairs


def save_one(release: releases.Release, recipe: scenarios.SizedScenario, folder: Path) -> Path:
    path = folder / "checkpoint.pt"
    with LocalRunner(folder) as host:
        process = host.open(release, FetchedSources(offline=True).get(release), "cpu")
        process.save(recipe, path, 60)
        process.close()
    return path


def fresh_process(
    loader: releases.Release, recipe: scenarios.SizedScenario, checkpoint: Path
) -> None:
    """Import torch and TE in a new interpreter, load once, leave."""
    start = {
        "lane": "cpu",
        "source": str(FetchedSources(offline=True).get(loader)),
        "version": loader.version,
    }
    enter = {"op": "enter", "id": 1, "scenario": recipe.request}
    load = {
        "op": "load",
        "id": 2,
        "timeout": 60,
        "scenario": recipe.request,
        "path": str(checkpoint),
        "rewrite": None,
        "opt_in": loader.opt_in,
    }
    text = "".join(json.dumps(line) + "\n" for line in (start, enter, load))
    done = subprocess.run(
        [sys.executable, str(WORKER), "serve"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        env=worker_environment(),
    )
    assert '"stage"' in done.stdout, done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", default="all")
    parser.add_argument("--pairs", type=int, default=30)
    options = parser.parse_args()
    names = [] if options.releases == "all" else options.releases.split(",")
    releases = fetched(names)
    selected = ",".join(release.name for release in releases)
    with tempfile.TemporaryDirectory() as folder:
        first = run(Path(folder), selected)
        second = run(Path(folder), selected)
    with tempfile.TemporaryDirectory() as folder:
        every = run(Path(folder), selected, "--every-cell")
    pair = one_process_per_pair(releases, options.pairs)
    show(releases, first, second, every, pair, options.pairs)


def show(
    releases: list[releases.Release],
    first: float,
    second: float,
    every: float,
    pair: float,
    sample: int,
) -> None:
    mapped = [release for release in releases if release.minor in ((1, 6), (1, 7))]
    cells = len(releases) * (len(releases) + len(mapped))
    whole = pair * cells / (os.cpu_count() or 1)
    title = f"{len(releases)} releases, {cells} cells of autocast, {os.cpu_count()} cores"
    table = Table(title=title)
    for heading in ("what", "seconds", "ratio to the first row"):
        table.add_column(heading)
    for what, seconds in (
        ("nothing known", first),
        ("nothing known, every cell loaded", every),
        ("nothing to do", second),
        (f"one process per pair, from {sample} pairs, over the cores", whole),
    ):
        table.add_row(what, f"{seconds:.1f}", f"{seconds / first:.2f}")
    Console().print(table)
    print(f"one process per pair: {pair:.2f} s per pair")


if __name__ == "__main__":
    main()
