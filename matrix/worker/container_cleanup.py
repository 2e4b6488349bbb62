"""Removes what a save or load leaves behind in a container: processes and files.

This is done only if the release process is process 1 of a container. Then all other processes
are its descendants, and nobody else has files in the scratch folders.
"""

import contextlib
import ctypes
import os
import shutil
import signal
from typing import List

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_scratch: List[str] = []


def enable(scratch: List[str]) -> None:
    """Enable :func:`clear`.

    :param scratch: the folders that it empties.
    :raises RuntimeError: this is not process 1 of a container.
    """
    if os.getpid() != 1:
        raise RuntimeError("scratch folders are cleared in a container only")
    _scratch[:] = scratch


def enabled() -> bool:
    """Return whether :func:`clear` ends processes."""
    return bool(_scratch)


def adopt_orphans() -> None:
    """Make orphaned descendants of this process its children, so that it can reap them."""
    if _scratch:
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def clear() -> None:
    """End all processes except this one and process 1, and empty the scratch folders."""
    if not _scratch:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    for folder in _scratch:
        for entry in os.scandir(folder):
            _remove(entry)


def _remove(entry: "os.DirEntry[str]") -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(entry.path)
