"""What a cell may leave behind in a container: stray processes and files. Cleared away.

Only where the release process is process 1, so that every other process is its own
offspring and the scratch folders hold nothing of anybody else's.
"""

import contextlib
import ctypes
import os
import shutil
import signal
from typing import List

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_scratch: List[str] = []


def begin(scratch: List[str]) -> None:
    """Note the folders that every cell shall find empty.

    :raises RuntimeError: this is not the first process of a container.
    """
    if os.getpid() != 1:
        raise RuntimeError("scratch folders are cleared in a container only")
    _scratch[:] = scratch


def adopt() -> None:
    """Have orphans below this process become its children, so that it can reap them."""
    if _scratch:
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def clear() -> None:
    """End every process but this one and process 1, reap them, and empty the scratch folders."""
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
