"""The names that a release's Python code asks its compiled extension for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from matrix.catalogue.releases import PACKAGE
from matrix.lane.binding.sources import NAME, OLD_NAME

_LOOKUPS = ("getattr", "hasattr")


def names(source: Path) -> set[str]:
    """Return the names that the code below ``source`` looks up in the extension.

    :param source: folder that holds ``transformer_engine``.
    """
    found: set[str] = set()
    for path in sorted((source / PACKAGE / "pytorch").rglob("*.py")):
        tree = ast.parse(path.read_bytes(), str(path))
        found.update(_asked(tree))
    return {name for name in found if not name.startswith("__") and name != "*"}


def _asked(tree: ast.Module) -> Iterator[str]:
    """Yield the names that one file asks for, by import, as an attribute or by getattr."""
    aliases = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=imported):
                aliases |= {one.asname or one.name for one in imported if _is_extension(one.name)}
            case ast.ImportFrom(module=str(module), names=imported) if _is_extension(module):
                yield from (one.name for one in imported)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=alias), attr=name) if alias in aliases:
                yield name
            case ast.Call(
                func=ast.Name(id=lookup),
                args=[ast.Name(id=alias), ast.Constant(value=str(name)), *_],
            ) if lookup in _LOOKUPS and alias in aliases:
                yield name


def _is_extension(module: str) -> bool:
    return module in (OLD_NAME, NAME)
