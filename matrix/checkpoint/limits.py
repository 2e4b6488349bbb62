"""Limits on what is read of a file; only a malicious or damaged file reaches them.

Sizes are in bytes. A real checkpoint of 100 000 tensors needs some 15 MB of pickle, two
million opcodes and 200 000 objects (calls, dicts, sets).
"""

from __future__ import annotations

import dataclasses

PICKLE_BYTES = 128 << 20
PICKLE_OPCODES = 3_000_000
PICKLE_OBJECTS = 600_000
FILE_OPCODES = 10_000_000
FOLDER_OPCODES = 200_000_000
DEPTH = 100
DIRECTORY_BYTES = 64 << 20
DIRECTORY_ENTRIES = 500_000
STATE_BYTES = 16 << 20
HEADER_BYTES = 100_000_000
FILES = 20_000


@dataclasses.dataclass
class Budget:
    """Number of opcodes that may still be read from a file or folder, nested pickles included."""

    opcodes: int = FILE_OPCODES
