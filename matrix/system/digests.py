"""SHA-256 digests of files and folders: of Python files only, or of all files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_files(folder: Path) -> str:
    """Return the SHA-256 over "path SHA-256" lines, sorted, of every .py below ``folder``."""
    return _of(folder, folder.rglob("*.py"))


def of_tree(path: Path) -> str:
    """Return the same over every file below ``path``, except ``.git`` and ``__pycache__``.

    :param path: a folder, or one file.
    """
    if path.is_file():
        return _of(path.parent, [path])
    kept = {".git", "__pycache__"}
    files = (file for file in path.rglob("*") if file.is_file())
    return _of(path, (file for file in files if not kept & set(file.parts)))


def _of(folder: Path, files: Iterable[Path]) -> str:
    seen = hashlib.sha256()
    for name in sorted(path.relative_to(folder).as_posix() for path in files):
        seen.update(f"{name} {of_file(folder / name)}\n".encode())
    return seen.hexdigest()
