"""The commits that changed what releases do, as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from matrix.catalogue import ranges, tables

_TABLE = "changes.toml"
"""Table of the changes between neighbouring releases; the page does without where it is missing."""


class _Row(BaseModel):
    """Base of the rows, of which only the fields that the page shows are read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Effect(_Row):
    role: str
    variant: str
    before: str
    now: str
    modules: tuple[str, ...]
    recipes: tuple[str, ...]
    partners: str


class _Change(_Row):
    release: str
    after: str
    basis: str
    way: str = "has"
    commit: str | None = None
    subject: str | None = None
    pulls: tuple[int, ...] = ()
    why: str | None = None
    effect: tuple[_Effect, ...]


class _Changes(_Row):
    change: tuple[_Change, ...] = ()


def rows(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the changes between releases as plain data; none where there is no table of them.

    :param names: the catalogued releases of the report; ``partners`` lists those of them that a
        change concerns.
    :raises TableError: the table has a mistake.
    """
    path = tables.packaged(_TABLE)
    if not path.exists():
        return []
    return [_row(change, names) for change in tables.load(path, _Changes).change]


def _row(change: _Change, names: Sequence[str]) -> dict[str, Any]:
    effects = [
        {**effect.model_dump(), "partners": list(filter(ranges.covers(effect.partners), names))}
        for effect in change.effect
    ]
    return {**change.model_dump(exclude_none=True), "effect": effects}
