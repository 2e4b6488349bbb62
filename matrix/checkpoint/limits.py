"""Limits on what is read of a file; only a malicious or damaged file reaches them.

Whatever a file claims, reading it takes at most about 10 s and 500 MB, its weights not counted.
One mechanism sees to that: :class:`Budget`. Its unit is a byte of memory; opcodes, entries of
archives and headers, and values cost what they take, and never less than their time is worth.
A checkpoint of 187,392 tensors, optimizer states among them, costs 85 % of what a file may.
docs/checkpoints.md lists the limits.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from matrix.checkpoint.errors import OverBudget, Refused
from matrix.checkpoint.lookups import Lookups

PICKLE_BYTES = 128 << 20
FILE_COST = 384 << 20
FOLDER_FILES = 50
"""The number of files of which a folder may cost as much as one file may."""
KEY_CHARACTERS = 4096
INTEGER_BYTES = 1024
NESTED_FILES = 20
DEPTH = 100
"""How deeply values may be nested in a pickle that is written."""
DIRECTORY_BYTES = 64 << 20
DIRECTORY_ENTRIES = 400_000
STATE_BYTES = 16 << 20
STATES = 100_000
ITEMS = 10_000
"""The number of items of a distributed checkpoint that are read beside its extra states."""
HEADER_BYTES = 100_000_000
FILES = 20_000


@dataclasses.dataclass
class Budget:
    """What may still be read of a checkpoint, and what its pickles looked up so far.

    Every pickle is read with one: those inside others, of extra states and of the items of a
    distributed checkpoint share that of the checkpoint.
    """

    left: int = FILE_COST
    """What the current file may still cost, in bytes of memory."""
    folder: int = FOLDER_FILES * FILE_COST
    """What all files together may still cost."""
    depth: int = 0
    """The number of files of ``torch.save`` that the one being read lies in."""
    lookups: Lookups = dataclasses.field(default_factory=Lookups)

    def spend(self, cost: int) -> None:
        """Deduct a cost.

        :raises OverBudget: the file would take more than may be spent on it.
        """
        self.left -= cost
        if self.left < 0:
            raise OverBudget

    @contextlib.contextmanager
    def nested(self) -> Iterator[None]:
        """Read files that lie inside the one being read.

        :raises Refused: files lie in files more deeply than in any checkpoint.
        """
        if self.depth >= NESTED_FILES:
            raise Refused(f"files in files, more than {NESTED_FILES} deep")
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    @contextlib.contextmanager
    def part(self, cost: int) -> Iterator[None]:
        """Read something that may cost no more than ``cost``."""
        before = self.left
        self.left = min(before, cost)
        try:
            yield
        finally:
            self.left = before - (min(before, cost) - self.left)

    def next_file(self) -> None:
        """Begin another file, whose memory is free again when it has been read."""
        self.folder -= FILE_COST - self.left
        self.left = max(0, min(FILE_COST, self.folder))
