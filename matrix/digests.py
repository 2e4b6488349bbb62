"""Digests of Python files: of a release's code, and of the worker's."""

from __future__ import annotations

import hashlib
from pathlib import Path


def of_files(folder: Path) -> str:
    """Return the SHA-256 over "path SHA-256" lines, sorted, of every .py below ``folder``."""
    seen = hashlib.sha256()
    for name in sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py")):
        file_digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        seen.update(f"{name} {file_digest}\n".encode())
    return seen.hexdigest()
