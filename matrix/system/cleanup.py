"""Temporary files and folders, and the removal of those that a killed process left behind.

Whatever may outlive a killed process bears the name of its process and of its machine. A
later start removes it, and touches nothing of a process that still runs, or of another
machine: a store or a cache may be shared.
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
"""Prefix of what is written beside its place, to be moved there when it is whole."""


def mark(kind: str) -> str:
    """Return the prefix of a name: its kind, this machine and this process."""
    return f"{kind}{platform.node()}-{os.getpid()}-"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder, to be used as a context manager."""
    return tempfile.TemporaryDirectory(prefix=mark(SCRATCH))


def sweep(folder: Path, kind: str) -> list[str]:
    """Remove what ended processes of this machine left in a folder.

    :param kind: what :func:`mark` was given.
    :returns: the names of what is gone.
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
    """Tell whether the process that a label names still runs; of another machine, it may.

    :param label: what :func:`process_label` returned.
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
    # Another start may be sweeping, too.
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
