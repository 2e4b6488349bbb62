"""`nox -s bench`: rewriting and dequantizing quantized weights, beside copying the file.

Each in a process of its own, which writes the result as `remap` does: read back, and on the disk
(fsync) when it ends, as the copy is. What was written before is on the disk when it begins. The
smallest of some rounds counts, in which all take turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.checkpoint import make
from helpers.quantized import SIDE

MAKE = """
import pathlib, sys
from helpers import quantized
count, side = map(int, sys.argv[3:])
quantized.large(pathlib.Path(sys.argv[1]), sys.argv[2], "2.4", count, side)
"""
COPY = """
import os, shutil, sys
shutil.copyfile(*sys.argv[1:])
with open(sys.argv[2], "rb+") as file:
    os.fsync(file.fileno())
"""
REWRITE = """
import importlib.util, pathlib, sys
from matrix.catalogue import forms
from matrix.checkpoint import edits, layout
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.rewriting import Rewrite, publishing
from matrix.system.progress import Progress
{first}
path, out = map(pathlib.Path, sys.argv[1:])
found = layout.find(path)
contents, form = found.read(), forms.load()["2.4"]
planned = edits.plan(contents, form, lenient=True)
files = contents.quantized.files
rewrite = Rewrite(found, planned, form, "copy", WeightChange({change}), files)
with publishing(rewrite, out, Progress()):
    pass
"""
WITHOUT_NUMPY = "importlib.util.find_spec = lambda _name: None"
WAYS = {
    "copied": COPY,
    "rewritten for 2.20.2": REWRITE.format(first="", change='into="2.20.2"'),
    "dequantized to bf16": REWRITE.format(first="", change='dtype="bfloat16"'),
}
SLOW = {"the same without NumPy": REWRITE.format(first=WITHOUT_NUMPY, change='dtype="bfloat16"')}
COPIES = {"delayed-scaling": 1, "mxfp8": 2, "block-scaling": 2}
"""Recipes, and how many copies of the data their weights hold."""


@dataclasses.dataclass(frozen=True, order=True)
class Cost:
    """What a process took."""

    seconds: float
    processor: float
    """Seconds of all its threads."""
    peak: float
    """MiB."""


def cost(program: str, *words: str) -> Cost:
    """Run a program in a process of its own."""
    os.sync()
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, *words])
    _pid, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"a program ended with {status}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def costs(path: Path, ways: dict[str, str], rounds: int) -> Iterator[tuple[str, Cost, int]]:
    """Yield for each way its name, its smallest cost, and the bytes that it wrote."""
    new = path.with_name("new.pt")
    found: dict[str, list[Cost]] = {what: [] for what in ways}
    sizes = {}
    for _ in range(rounds):
        for what, program in ways.items():
            found[what].append(cost(program, str(path), str(new)))
            sizes[what] = new.stat().st_size
            new.unlink()
    for what, measured in found.items():
        yield what, min(measured), sizes[what]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--recipe", choices=COPIES, action="append")
    parser.add_argument("--side", type=int, default=SIDE, help="rows and columns of each weight")
    parser.add_argument("--without-numpy", action="store_true")
    options = parser.parse_args()
    side = options.side
    table = Table(title=f"quantized weights of {side} x {side}; each starts Python anew")
    for heading in HEADINGS:
        table.add_column(heading)
    for recipe in options.recipe or COPIES:
        count = max(1, int(options.gigabytes * 1e9 / (side * side * COPIES[recipe])))
        with tempfile.TemporaryDirectory() as folder:
            path = make(MAKE, Path(folder) / "large.pt", recipe, str(count), str(side))
            ways = WAYS | (SLOW if options.without_numpy else {})
            first: Cost | None = None
            for what, taken, size in costs(path, ways, options.rounds):
                first = first or taken
                table.add_row(recipe, what, *shown(taken, first, size))
    Console().print(table)


HEADINGS = ("recipe", "what", "GB written", "seconds", "ratio to a copy", "CPU seconds", "peak MiB")


def shown(taken: Cost, copied: Cost, size: int) -> tuple[str, ...]:
    ratio = taken.seconds / copied.seconds
    numbers = (size / 1e9, taken.seconds, ratio, taken.processor)
    return (*(f"{number:.2f}" for number in numbers), f"{taken.peak:.0f}")


if __name__ == "__main__":
    main()
