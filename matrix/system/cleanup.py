"""Temporary files and folders, and the removal of those that a killed process left behind.

The names of such files hold the machine and the process id. A later start removes them only
if the process has ended, and never those of another machine: stores and caches may be shared.
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
"""Prefix of temporary folders."""

PART = ".part-"
"""Prefix of files and folders that are moved to their final name when they are complete."""


def mark(kind: str) -> str:
    """Return a file name prefix that holds this machine and this process.

    :param kind: the beginning of the prefix, e.g. :data:`SCRATCH`.
    """
    return f"{kind}{platform.node()}-{os.getpid()}-"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder as a context manager that removes it."""
    return tempfile.TemporaryDirectory(prefix=mark(SCRATCH))


def sweep(folder: Path, kind: str) -> list[str]:
    """Remove what ended processes of this machine left in a folder.

    :param kind: the kind that :func:`mark` was called with.
    :returns: the names of the removed files and folders.
    """
    pattern = re.compile(rf"{re.escape(kind + platform.node())}-(\d+)-")
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if (match := pattern.match(entry.name)) and not _is_running(int(match[1])):
                _remove(Path(entry.path))
                found.append(entry.name)
    return found


def process_label() -> str:
    """Return a label that names this process: machine, process id, and when it began.

    Needs psutil.
    """
    import psutil

    process = psutil.Process()
    return f"{platform.node()}/{process.pid}/{process.create_time():.0f}"


def may_be_running(label: str) -> bool:
    """Tell whether a process may still be running; True for every process of another machine.

    :param label: what :func:`process_label` returned in that process.
    """
    import psutil

    node, pid, began = label.rsplit("/", 2)
    if node != platform.node():
        return True
    try:
        return f"{psutil.Process(int(pid)).create_time():.0f}" == began
    except psutil.NoSuchProcess:
        return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    # Another process may be removing the same.
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
