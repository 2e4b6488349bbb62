"""Temporary files and folders, and the removal of those that a killed process left behind.

The names of such files hold the machine, the kernel and its process namespace, the process id
and when the process began. A later start removes them only if that process has ended. It can
tell that of its own namespace alone: stores and caches may be shared with other machines, and
with containers that have the same host name and the same process ids.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
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
    return f"{kind}{_namespace()}-{os.getpid()}-{_began(os.getpid())}-"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder as a context manager that removes it."""
    return tempfile.TemporaryDirectory(prefix=mark(SCRATCH))


def sweep(folder: Path, kind: str) -> list[str]:
    """Remove what ended processes of this process namespace left in a folder.

    :param kind: the kind that :func:`mark` was called with.
    :returns: the names of the removed files and folders.
    """
    pattern = re.compile(rf"{re.escape(kind + _namespace())}-(\d+)-(\d+)-")
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            match = pattern.match(entry.name)
            if match and not _is_running(int(match[1]), int(match[2])):
                _remove(Path(entry.path))
                found.append(entry.name)
    return found


def process_label() -> str:
    """Return a label that names this process: namespace, process id, and when it began."""
    return f"{_namespace()}/{os.getpid()}/{_began(os.getpid())}"


def may_be_running(label: str) -> bool:
    """Tell whether a process may still be running; True for every process of another namespace.

    :param label: what :func:`process_label` returned in that process.
    """
    where, pid, began = label.rsplit("/", 2)
    return where != _namespace() or _is_running(int(pid), int(began))


@functools.cache
def _namespace() -> str:
    """Return what tells process ids of one meaning from others: machine, boot, namespace.

    Machines may share a host name. The kernel numbers each boot at random, and gives every
    container a process namespace of its own. Elsewhere than on Linux the host name has to do.
    """
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return f"{platform.node()}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def _began(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; 0 where that cannot be told."""
    try:
        # The name of the program, in parentheses, may hold spaces; field 22 is the start time.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _is_running(pid: int, began: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    now = _began(pid)
    return not began or not now or now == began


def _remove(path: Path) -> None:
    # Another process may be removing the same.
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
