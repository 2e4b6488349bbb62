"""How much of a file is ever looked at. A hostile file meets these, an honest one does not.

Sizes are in bytes. An honest checkpoint of 100 000 tensors needs some 15 MB of pickle, two
million opcodes and 200 000 objects (calls, dicts, sets) in it.
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
    """Opcodes that may still be read, of a file or folder with all pickles inside its pickles."""

    opcodes: int = FILE_OPCODES
