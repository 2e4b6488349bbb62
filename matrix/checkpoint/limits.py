"""How much of a file is ever looked at. A hostile file meets these, an honest one does not.

Sizes are in bytes. An honest checkpoint of 100 000 tensors needs some 15 MB of pickle, two
million opcodes and 200 000 objects (calls, dicts, sets) in it.
"""

from __future__ import annotations

import dataclasses

from matrix.errors import ExitCode, MatrixError

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


class CheckpointError(MatrixError):
    """A file or folder that is no checkpoint, is not whole, or is built to do harm."""

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(*(printable(part) for part in (what, why, do)))


def printable(text: str) -> str:
    """Return text from a file with what a terminal would obey written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclasses.dataclass
class Budget:
    """Opcodes that may still be read, of a file or folder with all pickles inside its pickles."""

    opcodes: int = FILE_OPCODES


class Malformed(ValueError):
    """Bytes that are not what they should be; the message says what, the caller where."""
