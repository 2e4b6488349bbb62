"""``python -m matrix``: the same as ``te-matrix``."""

from matrix.cli import main

main()
