"""`nox -s bench`: rewriting and dequantizing quantized weights, beside copying the file.

Each in a process of its own, which writes the result without comparing it afterwards, as `remap`
does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.checkpoint import make, measured
from helpers.quantized import SIDE

MAKE = """
import pathlib, sys
from helpers import quantized
quantized.large(pathlib.Path(sys.argv[1]), sys.argv[2], "2.4", int(sys.argv[3]))
"""
COPY = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"
REWRITE = """
import pathlib, sys
from matrix.catalogue import forms
from matrix.checkpoint import rewriting
from matrix.checkpoint.quantized.changes import WeightChange
path, out = map(pathlib.Path, sys.argv[1:])
rewriting.rewrite_file(path, out, forms.load()["2.4"], WeightChange({}))
"""
WAYS = {
    "copied": COPY,
    "rewritten for 2.20.2": REWRITE.format('into="2.20.2"'),
    "dequantized to bf16": REWRITE.format('dtype="bfloat16"'),
}
COPIES = {"delayed-scaling": 1, "mxfp8": 2, "block-scaling": 2}
"""Recipes, and how many copies of the data their weights hold."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4)
    options = parser.parse_args()
    table = Table(title=f"{options.gigabytes} GB of quantized weights; each starts Python anew")
    for heading in ("recipe", "what", "seconds", "ratio to a copy", "peak MiB"):
        table.add_column(heading)
    for recipe, copies in COPIES.items():
        count = max(1, int(options.gigabytes * 1e9 / (SIDE * SIDE * copies)))
        with tempfile.TemporaryDirectory() as folder:
            path = make(MAKE, Path(folder) / "large.pt", recipe, str(count))
            new = Path(folder) / "new.pt"
            first = 0.0
            for what, program in WAYS.items():
                seconds, memory = measured([sys.executable, "-c", program, str(path), str(new)])
                new.unlink()
                first = first or seconds
                ratio = f"{seconds / first:.2f}"
                table.add_row(recipe, what, f"{seconds:.2f}", ratio, f"{memory:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
