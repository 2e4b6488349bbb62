"""Unpack tar archives from elsewhere, so that nothing is written outside of the folder."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def unpack(
    archive: tarfile.TarFile, folder: Path, members: Iterable[tarfile.TarInfo] | None = None
) -> None:
    """Unpack an archive, or some of it.

    :raises tarfile.TarError: a member would lie, or lead, outside of the folder.
    """
    chosen = list(archive if members is None else members)
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, chosen, filter="data")
    else:
        # Python before 3.11.4 has no filters, and Debian 12's is one.
        archive.extractall(folder, [entry for entry in chosen if _plain(entry)])


def _plain(entry: tarfile.TarInfo) -> bool:
    """Return whether to unpack a member: a file or folder; a Python file may be nothing else."""
    place = PurePosixPath(entry.name)
    if place.is_absolute() or ".." in place.parts:
        raise tarfile.TarError(f"{entry.name} lies outside of the folder")
    if entry.isreg() or entry.isdir():
        return True
    if place.suffix == ".py":
        raise tarfile.TarError(f"{entry.name} is no plain file")
    return False
