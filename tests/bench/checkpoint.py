"""`nox -s bench`: what inspecting costs, beside loading, as ratios in one run.

A sparse checkpoint, whose weights take no room on disk, is inspected and loaded by
``torch.load``, mapped and plain, each in a process of its own. Plain loading needs the
whole file in memory, so it gets a smaller one, which is inspected too; and the large one is
inspected with ten times the keys: what the cost of inspecting follows. So is a checkpoint of a
mixture of experts with its optimizer: 187,392 tensors.

Then files of up to 100 MB that are made to cost as much as they can, each in one way.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from helpers import bombs

GB = 1 << 30
MAKE = """
import pathlib, sys
from helpers import formats
formats.sparse(pathlib.Path(sys.argv[1]), {}, {})
"""
EXPERTS = """
import pathlib, sys
from helpers import formats
formats.experts(pathlib.Path(sys.argv[1]), 61, 256)
"""
BOMB = """
import pathlib, sys
from helpers import bombs, hostile
pathlib.Path(sys.argv[1]).write_bytes(hostile.torch_zip(bombs.sized(sys.argv[2], {})))
"""
BOMB_BYTES = 95_000_000
LOAD = "import sys, torch; torch.load(sys.argv[1], weights_only=False, mmap={})"


def sparse(path: Path, size: int, keys: int) -> Path:
    """Make a sparse checkpoint, in another process: a child begins with its parent's peak."""
    subprocess.run([sys.executable, "-c", MAKE.format(size, keys), str(path)], check=True)
    return path


def measured(command: list[str], expected: int = 0) -> tuple[float, float]:
    """Return the seconds and the peak MiB of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != expected:
        sys.exit(f"{' '.join(command)} ended with {status}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def inspect(path: Path, expected: int = 0) -> tuple[float, float]:
    return measured([sys.executable, "-m", "matrix", "inspect", str(path)], expected)


def load(path: Path, *, mmap: bool) -> tuple[float, float]:
    return measured([sys.executable, "-c", LOAD.format(mmap), str(path)])


def make(program: str, path: Path, *words: str) -> Path:
    """Run a program that makes a file, in another process."""
    subprocess.run([sys.executable, "-c", program, str(path), *words], check=True)
    return path


def costly_files() -> None:
    """Inspect files that are made to cost as much as they can."""
    table = Table(title="files of up to 100 MB made to cost as much as they can; all are refused")
    for heading in ("what it consists of", "seconds", "peak MiB"):
        table.add_column(heading)
    for name in bombs.PICKLES:
        with tempfile.TemporaryDirectory() as folder:
            path = make(BOMB.format(BOMB_BYTES), Path(folder) / "x.pt", name)
            seconds, memory = inspect(path, expected=2)
        table.add_row(name, f"{seconds:.2f}", f"{memory:.0f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=int, default=20)
    parser.add_argument("--plain-gigabytes", type=int, default=4)
    options = parser.parse_args()
    large, small = options.gigabytes * GB, options.plain_gigabytes * GB
    with tempfile.TemporaryDirectory() as folder:
        big = sparse(Path(folder) / "big.pt", large, 1000)
        many = sparse(Path(folder) / "many.pt", large, 10_000)
        experts = make(EXPERTS, Path(folder) / "experts.pt")
        less = sparse(Path(folder) / "less.pt", small, 1000)
        rows = [
            ("te-matrix inspect", options.gigabytes, 1000, *inspect(big)),
            ("te-matrix inspect", options.plain_gigabytes, 1000, *inspect(less)),
            ("te-matrix inspect", options.gigabytes, 10_000, *inspect(many)),
            ("te-matrix inspect, experts", 0, 187_392, *inspect(experts)),
            ("torch.load, mapped", options.gigabytes, 1000, *load(big, mmap=True)),
            ("torch.load, plain", options.plain_gigabytes, 1000, *load(less, mmap=False)),
        ]
    table = Table(title="inspecting beside loading; each starts Python anew")
    for heading in ("what", "GB", "keys", "seconds", "ratio to the first row", "peak MiB"):
        table.add_column(heading)
    for what, size, keys, seconds, memory in rows:
        ratio = f"{seconds / rows[0][3]:.2f}"
        table.add_row(what, str(size), str(keys), f"{seconds:.2f}", ratio, f"{memory:.0f}")
    Console().print(table)
    costly_files()


if __name__ == "__main__":
    main()
