"""The ways across from one release to another, the least intrusive first."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Self

from pydantic import Field, model_validator

from matrix.catalogue import scenarios, tables


class Way(tables.Row):
    """One way across."""

    name: str
    """What reports call it."""
    summary: str
    """The way in one line, for people."""
    variants: tuple[str, ...] = Field(min_length=1)
    """Names of the variants that show it, the ones to prefer first."""
    gives_up: str = ""
    """What is given up by it, whatever the checkpoint holds; empty where nothing is."""


class OwnRecipe(tables.Row):
    """The way of whoever goes on under the recipe that a checkpoint was saved with."""

    name: str
    """What reports call it."""
    summary: str
    """The way in one line, for people."""
    gives_up: str
    """What is given up by it."""
    instead: dict[str, str]
    """Scenarios by those that load the same checkpoints under another recipe."""


class _Ways(tables.Row):
    way: tuple[Way, ...]
    own_recipe: OwnRecipe

    @model_validator(mode="after")
    def _of_every_variant(self) -> Self:
        counted = Counter(variant for way in self.way for variant in way.variants)
        named = {name for pair in self.own_recipe.instead.items() for name in pair}
        if unknown := named - scenarios.load().keys():
            raise ValueError(f"scenarios.toml has no scenario {min(unknown)}")
        if unknown := counted.keys() - scenarios.variants().keys():
            raise ValueError(f"variants.toml has no variant {min(unknown)}")
        if missing := scenarios.variants().keys() - counted.keys():
            raise ValueError(f"no way has the variant {min(missing)}")
        if twice := [name for name, count in counted.items() if count > 1]:
            raise ValueError(f"the variant {twice[0]} belongs to more than one way")
        return self


def of_variant(name: str) -> Way:
    """Return the way that a variant shows.

    :raises KeyError: there is no such variant.
    """
    for way in load():
        if name in way.variants:
            return way
    raise KeyError(name)


def load() -> tuple[Way, ...]:
    """Return the ways, the least intrusive first.

    :raises TableError: the table is malformed, or lacks a variant.
    """
    return _load().way


def own_recipe() -> OwnRecipe:
    """Return the way of whoever keeps the recipe.

    :raises TableError: see :func:`load`.
    """
    return _load().own_recipe


@functools.cache
def _load() -> _Ways:
    return tables.load(tables.packaged("ways.toml"), _Ways)
