"""Kill a run at random moments, start it again, and hold what it left against the rules.

    python -m tools.powercuts 200           200 cuts, with workers that need no TE
    python -m tools.powercuts 20 --real     20 cuts of runs of real release code

Every cut is a kill -9, in turn of the harness alone and of all its processes. Rules: no
process outlives the harness for long; the next start refuses a torn record by its name, and
otherwise goes on; what was finished is not measured again; a run that is let through ends
as one that was never disturbed, its report the same, and leaves nothing of the killed ones.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from fakes.planting import a_worker
from matrix.system import cleanup

RELEASES = "1.9-1.13,2.1"
REAL = "1.11,2.1"
EVERY = 20
"""Every so many cuts, the record written last is torn as well."""
SOON = 15.0
"""Seconds within which every process of a killed harness has to be gone."""


class Violation(AssertionError):
    """A rule that a cut broke."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """A run that came to its end."""

    status: int
    output: str
    report: str

    @property
    def measured(self) -> int:
        """How many records the run says it made."""
        found = re.search(r"^(\d+) measured", self.output, re.MULTILINE)
        return int(found[1]) if found else 0


class Bench:
    """A folder with a store, and starts of ``te-matrix run`` on it."""

    def __init__(self, folder: Path, *, real: bool) -> None:
        self._folder = folder
        self._real = real
        self.tmp = folder / "tmp"
        self.tmp.mkdir(parents=True)
        if not real:
            a_worker(folder / "worker", {"pause": 0.01})

    @property
    def store(self) -> Path:
        """Where the store is."""
        return self._folder / "store"

    def start(self) -> subprocess.Popen[str]:
        """Start a run on the store."""
        words = ["run", "--releases", REAL if self._real else RELEASES, "--variant", "plain"]
        words += ["--today", "2026-11-24", "--jobs", "2"]
        words += ["--store", str(self.store), "--report", str(self._folder / "report")]
        harness = ["-m", "matrix"]
        environment = {**os.environ, "TMPDIR": str(self.tmp)}
        if not self._real:
            harness = ["-m", "fakes.harness", str(self._folder)]
            environment["TE_MATRIX_CACHE"] = str(self._folder / "cache")
            environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        return subprocess.Popen(
            [sys.executable, *harness, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    def finish(self, running: subprocess.Popen[str]) -> Ended:
        """Let a run come to its end."""
        output, _ = running.communicate(timeout=600)
        report = self._folder / "report" / "report.json"
        return Ended(running.returncode, output, report.read_text() if report.exists() else "")

    def renew(self) -> None:
        """Begin with an empty store again."""
        for name in ("store", "report"):
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def records(self) -> dict[str, int]:
        """Return every finished record, with the time it was written."""
        found = [*self.store.glob("saves/*.json"), *self.store.glob("loads/*.json")]
        return {str(path): path.stat().st_mtime_ns for path in found}

    def attempts(self) -> list[str]:
        """Return what the store has noted as failed."""
        return [path.read_text() for path in self.store.glob("attempts/*.json")]

    def litter(self) -> list[str]:
        """Return the names of what killed runs left, and nobody has removed."""
        parts = [p.name for p in self.store.rglob("*") if p.name.startswith(cleanup.PART)]
        return [*parts, *(path.name for path in self.tmp.iterdir())]


class Cuts:
    """Cuts one run after the other, and counts.

    :param chance: where the moments come from.
    """

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self._bench = bench
        self._chance = chance
        self.cuts = self.finished = self.torn = self.littered = self.measuring = 0
        began = time.monotonic()
        self._whole = bench.finish(bench.start())
        self.seconds = time.monotonic() - began
        self._count = len(bench.records())
        _demand(self._whole.measured == self._count > 0, self._whole.output)
        # PyTorch leaves a folder of its own, cut or not.
        self._usual = set(bench.litter())
        bench.renew()

    def go_on(self, count: int) -> None:
        """Cut until there were ``count`` cuts, then let the last run through.

        :raises Violation: a rule is broken.
        """
        while self.cuts < count:
            # Where there is nothing left to measure, there is little left to cut.
            done = len(self._bench.records()) == self._count
            self._start(None if done else self._chance.uniform(0, self.seconds))
            if self.torn < self.cuts // EVERY:
                self._tear()
        self._start(None)

    def _start(self, seconds: float | None) -> None:
        """Start once, cut after so many seconds, and see what that did to the records."""
        before = self._bench.records()
        running = self._bench.start()
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            self._cut(running)
        else:
            self._check_end(self._bench.finish(running), before)
            self._bench.renew()
            return
        after = self._bench.records()
        again = [name for name, when in before.items() if after.get(name) != when]
        _demand(not again, f"records that were there are lost or measured again: {again}")
        self.measuring += len(before) < len(after) < self._count

    def _cut(self, running: subprocess.Popen[str]) -> None:
        harness = psutil.Process(running.pid)
        family = harness.children(recursive=True)
        doomed = [harness, *family] if self.cuts % 2 else [harness]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()
        _gone, alive = psutil.wait_procs(family, timeout=SOON)
        _demand(not alive, f"processes outlive the harness: {alive}")
        self.cuts += 1
        self.littered += bool(self._litter())

    def _litter(self) -> set[str]:
        return set(self._bench.litter()) - self._usual

    def _check_end(self, ended: Ended, before: dict[str, int]) -> None:
        after = self._bench.records()
        _demand(ended.status == self._whole.status, ended.output)
        _demand(ended.report == self._whole.report, "the report is not that of a whole run")
        _demand(before.items() <= after.items(), "finished records were lost or measured again")
        _demand(len(after) == self._count, f"{len(after)} records, not {self._count}")
        _demand(ended.measured == len(after) - len(before), ended.output)
        _demand(not self._bench.attempts(), f"cuts were noted: {self._bench.attempts()}")
        _demand(not self._litter(), f"left behind: {self._litter()}")
        self.finished += 1

    def _tear(self) -> None:
        """Tear the newest record, as a power cut can, and see that it is refused by name."""
        records = self._bench.records()
        if not records:
            return
        newest = Path(max(records, key=lambda name: records[name]))
        newest.write_bytes(newest.read_bytes()[:100])
        ended = self._bench.finish(self._bench.start())
        refused = ended.status == 4 and newest.name in "".join(ended.output.split())
        _demand(refused, f"{newest.name} is torn: {ended.output}")
        _demand("Delete it" in " ".join(ended.output.split()), ended.output)
        newest.unlink()
        self.torn += 1


def _demand(good: bool, otherwise: str) -> None:
    if not good:
        raise Violation(otherwise)


def main() -> int:
    """Cut as often as the command line says; print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cuts", type=int, nargs="?", default=200)
    parser.add_argument("--real", action="store_true", help="run real release code")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="powercuts-") as folder:
        cuts = Cuts(Bench(Path(folder), real=asked.real), random.Random(asked.seed))
        try:
            cuts.go_on(asked.cuts)
        except Violation as broken:
            print(f"after {cuts.cuts} cuts: {broken}")
            return 1
    print(
        f"{cuts.cuts} cuts within runs of {cuts.seconds:.1f} s, {cuts.measuring} of them between "
        f"two records; {cuts.littered} left something behind, {cuts.torn} tore a record; "
        f"{cuts.finished} runs came to their end, each as one that was never disturbed"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
