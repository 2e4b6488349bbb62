"""Folders that ship with the package: inside it when installed, beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

import matrix

PACKAGE = Path(matrix.__file__).resolve().parent


def folder(installed: str, checkout: str) -> Path:
    """Return a folder that ships with the package.

    :param installed: its name inside the installed package, as ``pyproject.toml`` has it.
    :param checkout: its name beside the package, in a checkout.
    """
    inside = PACKAGE / installed
    return inside if inside.is_dir() else PACKAGE.parent / checkout
