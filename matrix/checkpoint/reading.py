"""A checkpoint on disk, whatever its format: its keys, its extra states, what it names.

One file of a folder is read after the other; of each only its pickle and the extra states.
"""

from __future__ import annotations

from pathlib import Path

from matrix.checkpoint import layout, limits
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.errors import refusing_unreadable
from matrix.checkpoint.layout import Layout
from matrix.checkpoint.limits import Budget


def read(found: Layout) -> Contents:
    """Read a checkpoint, executing nothing of it and leaving the weights alone.

    :raises CheckpointError: it is none, is not whole, or cannot be read.
    """
    contents = Contents()
    budget = Budget(limits.FOLDER_OPCODES) if found.is_folder else Budget()
    with refusing_unreadable(found.path):
        for part in found.parts:
            contents.format = part.format.read(part, contents, budget)
    contents.format = found.label or contents.format
    return contents


def scan(path: Path) -> Contents:
    """Find a checkpoint's files and read them; see :func:`read`."""
    return read(layout.find(path))
