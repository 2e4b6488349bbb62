"""What a killed run leaves behind: files and folders that bear the name of their process.

A later start removes them, and touches nothing of a process that is still at work, or of
another machine: a store may be shared.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

SCRATCH = "te-matrix-"
"""What the names of temporary folders begin with."""

PART = ".part-"
"""What the names of things begin with that are written beside their place, to be moved there."""


def mark(kind: str) -> str:
    """Return the beginning of a name: its kind, this machine and this process."""
    return f"{kind}{platform.node()}-{os.getpid()}-"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder, to be used as a context manager."""
    return tempfile.TemporaryDirectory(prefix=mark(SCRATCH))


def sweep(folder: Path, kind: str) -> list[str]:
    """Remove what processes of this machine that are no more left in a folder.

    :param kind: :data:`SCRATCH` or :data:`PART`.
    :returns: the names of what is gone.
    """
    pattern = re.compile(rf"{re.escape(kind + platform.node())}-(\d+)-")
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if (match := pattern.match(entry.name)) and not _alive(int(match[1])):
                _remove(Path(entry.path))
                found.append(entry.name)
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    # Another start may be sweeping, too.
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
