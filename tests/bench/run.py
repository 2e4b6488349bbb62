"""`nox -s bench`: what the fork server and the store are worth, as ratios in one run.

Prints wall times of the whole autocast matrix with nothing known, with every cell
loaded though another has the very same state, of a second run with nothing to do, of one
that only writes its report anew, and of one process per pair on a sample. Sources are fetched
first and not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from matrix.catalogue import releases, scenarios
from matrix.errors import MatrixError
from matrix.lane.local import LocalRunner
from matrix.lane.process import ReleaseProcess
from matrix.lane.protocol import LoadAnswer, SaveAnswer
from matrix.lane.sources import FetchedSources
from matrix.report import stamp

LIMIT = 60
"""Seconds that a save or a load may take."""


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
    sized = scenarios.load()["autocast"]
    chosen = random.Random(0).choices(releases, k=pairs)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        with opened(releases[0], Path(folder)) as process:
            assert isinstance(process.save(sized, checkpoint, LIMIT), SaveAnswer)
        began = time.perf_counter()
        for loader in chosen:
            with opened(loader, Path(folder)) as process:
                process.enter(sized, LIMIT)
                loaded = process.load(sized, checkpoint, LIMIT, None, loader.opt_in)
                assert isinstance(loaded, LoadAnswer), loaded
        return (time.perf_counter() - began) / pairs


@contextlib.contextmanager
def opened(release: releases.Release, folder: Path) -> Iterator[ReleaseProcess]:
    """Import torch and TE in a new interpreter."""
    with LocalRunner(folder) as runner:
        process = runner.open(release, FetchedSources(offline=True).get(release), "cpu")
        yield process
        process.close()


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
        (Path(folder) / "report" / stamp.NAME).unlink()
        report = run(Path(folder), selected)
    with tempfile.TemporaryDirectory() as folder:
        every = run(Path(folder), selected, "--every-cell")
    pair = one_process_per_pair(releases, options.pairs)
    show(releases, first, second, report, every, pair, options.pairs)


def show(
    releases: list[releases.Release],
    first: float,
    second: float,
    report: float,
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
        ("nothing to measure, the report made anew", report),
        (f"one process per pair, from {sample} pairs, over the cores", whole),
    ):
        table.add_row(what, f"{seconds:.1f}", f"{seconds / first:.2f}")
    Console().print(table)
    print(f"one process per pair: {pair:.2f} s per pair")


if __name__ == "__main__":
    main()
