"""Features: the modules and recipes of Transformer Engine, and the releases that have each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Self, TypeVar

from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, Field, model_validator

from matrix.catalogue import tables
from matrix.catalogue.releases import Release
from matrix.catalogue.words import DeviceGeneration
from matrix.errors import TableError, UsageError, nearest


def _version(text: str) -> str:
    try:
        Version(text)
    except InvalidVersion as error:
        raise ValueError(f"{text!r} is no version") from error
    return text


VersionText = Annotated[str, AfterValidator(_version)]
"""A version as text, e.g. ``1.13``."""


class Feature(tables.Row):
    """A class of Transformer Engine, and the releases that have it."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9.]*$")
    """Name of the class, as releases export it."""
    since: VersionText
    """The first release that has it."""
    until: VersionText | None = None
    """The last release that has it; None where the newest one does."""

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.until is not None and Version(self.since) > Version(self.until):
            raise ValueError(f"it is there from {self.since} until {self.until}: backwards")
        return self

    def is_in(self, release: Release) -> bool:
        """Return whether a release has it. A candidate counts as the release of its version."""
        last = None if self.until is None else _order(self.until)
        return _order(self.since) <= _of(release) and (last is None or _of(release) <= last)


class Module(Feature):
    """A module that checkpoints are made of."""

    attends: bool = False
    """Whether it computes attention, itself or in a submodule."""
    state: VersionText | None = None
    """The first release in which it has an extra state; None where it always had one."""

    def has_state(self, release: Release) -> bool:
        """Return whether the module has an extra state in a release that has the module."""
        return _order(self.state or self.since) <= _of(release)


OPERATIONS = "ops."
"""Prefix of the names of modules that are operations."""


class Recipe(Feature):
    """A quantization recipe."""

    device: DeviceGeneration = DeviceGeneration.HOPPER
    """The device generation that it runs on, where a scenario names none."""
    weights: VersionText | None = None
    """The first release that quantizes weights by it; None where no release does."""
    operations: VersionText | None = None
    """The first release whose operations take it; None where all that have it do."""

    def is_taken(self, release: Release, module: str) -> bool:
        """Return whether a module of a release can be trained with it."""
        in_operations = module.startswith(OPERATIONS) and self.operations is not None
        first = self.operations if in_operations else self.since
        return self.is_in(release) and _order(first or self.since) <= _of(release)

    def quantizes_weights(self, release: Release) -> bool:
        """Return whether a release can build a module with weights quantized by it."""
        return self.weights is not None and _order(self.weights) <= _of(release)


class _Table(tables.Row):
    other: tuple[str, ...]
    module: tuple[Module, ...]
    recipe: tuple[Recipe, ...]


@dataclasses.dataclass(frozen=True)
class Features:
    """All known modules and recipes by name."""

    modules: Mapping[str, Module]
    """The modules, in the order of the table."""
    recipes: Mapping[str, Recipe]
    """The recipes, in the order of the table."""
    other: frozenset[str]
    """Further classes that releases export."""

    def module(self, name: str) -> Module:
        """Return a module.

        :raises UsageError: there is none of that name.
        """
        return _named("module", name, self.modules)

    def recipe(self, name: str) -> Recipe:
        """Return a recipe.

        :raises UsageError: there is none of that name.
        """
        return _named("recipe", name, self.recipes)

    def unknown(self, modules: Collection[str], recipes: Collection[str]) -> list[str]:
        """Return the names among a release's exports that the table does not mention."""
        mentioned = {*self.modules, *self.recipes, *self.other}
        return sorted({*modules, *recipes} - mentioned)

    def differences(
        self, release: Release, modules: Collection[str], recipes: Collection[str]
    ) -> list[str]:
        """Return in what a release differs from the table, one clause each.

        :param modules: names of the modules that it exports; others are ignored.
        :param recipes: names of the recipes that it exports; others are ignored.
        """
        return [
            *_differences(release, self.modules, modules),
            *_differences(release, self.recipes, recipes),
        ]


Found = TypeVar("Found", bound=Feature)


def _named(kind: str, name: str, known: Mapping[str, Found]) -> Found:
    if name not in known:
        raise UsageError(f"features.toml has no {kind} {name}", do=nearest(name, known))
    return known[name]


def _differences(
    release: Release, known: Mapping[str, Feature], exported: Collection[str]
) -> Iterator[str]:
    for name, feature in known.items():
        if feature.is_in(release) and name not in exported:
            yield f"it lacks {name}, which is there since {feature.since}"
        elif name in exported and not feature.is_in(release):
            yield f"it has {name}, which is there since {feature.since} only"


@functools.cache
def load() -> Features:
    """Read the packaged table.

    :raises TableError: it is malformed, or names a module or recipe twice.
    """
    path = tables.packaged("features.toml")
    table = tables.load(path, _Table)
    rows = (*table.module, *table.recipe)
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            raise TableError(f"{path}: {name} has more than one row")
    return Features(
        {row.name: row for row in table.module},
        {row.name: row for row in table.recipe},
        frozenset(table.other),
    )


def _order(version: str) -> tuple[int, ...]:
    # Marks are left out: what 2.21.dev0 has is what 2.21 will have.
    return Version(version).release


@functools.lru_cache(maxsize=1024)
def _of(release: Release) -> tuple[int, ...]:
    return _order(release.version)
