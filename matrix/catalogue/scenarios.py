"""Scenarios and variants: how a checkpoint is made, and how it is loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from matrix.catalogue import tables
from matrix.catalogue.ranges import covers
from matrix.catalogue.releases import Release
from matrix.errors import TableError, UsageError, nearest


class Size(tables.Row):
    """Width of the attention module and its number of heads."""

    hidden_size: int = Field(gt=0)
    attention_heads: int = Field(gt=0)


class Transport(tables.Row):
    """Arguments of ``torch.load`` and ``load_state_dict``."""

    weights_only: bool
    strict: bool


class Scenario(tables.Row):
    """One way to make a checkpoint; ``scenarios.toml`` explains the fields."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    summary: str
    size: str
    layers: int = Field(gt=0)
    weights: Literal["high-precision", "fp8"]
    state: Literal["all", "attention"]
    save_recipe: dict[str, Any]
    load_recipe: dict[str, Any]
    transport: Transport


REWRITE = "rewrite:"
"""What the name of every variant begins with that loads a rewritten file, and of no other."""


class Variant(tables.Row):
    """One way to load a checkpoint; ``variants.toml`` explains the fields."""

    name: str
    summary: str
    rewrite: str | None = None
    form: str | None = None
    saved_by: tuple[str, ...] | None = None
    savers: str | None = Field(default=None, alias="from")
    into: str | None = None
    opt_in: Literal["never", "only", "any"] = "never"

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        for ranges in filter(None, (self.savers, self.into)):
            covers(ranges)
        if self.name.startswith(REWRITE) != (self.form is not None):
            raise ValueError(f"a variant with a form, and no other, is called {REWRITE}NAME")
        return self

    def covers(self, saver: Release, loader: Release) -> bool:
        """Tell whether the pair lies in the variant's ranges. A candidate never does."""
        return all(
            ranges is None or (not release.candidate and covers(ranges)(release.version))
            for ranges, release in ((self.savers, saver), (self.into, loader))
        )


class Scenarios(tables.Row):
    """The whole of ``scenarios.toml``, or of a file of the user's own."""

    size: dict[str, Size] = Field(default_factory=dict)
    scenario: tuple[Scenario, ...]


class Variants(tables.Row):
    """The whole of ``variants.toml``."""

    variant: tuple[Variant, ...]


class SizedScenario:
    """A scenario at one size: what the worker is told, and its digest."""

    def __init__(self, scenario: Scenario, size: Size) -> None:
        self.name = scenario.name
        self.summary = scenario.summary
        self.request: dict[str, Any] = {
            **size.model_dump(),
            **scenario.transport.model_dump(),
            "layers": scenario.layers,
            "weights": scenario.weights,
            "state": scenario.state,
            "save_recipe": scenario.save_recipe,
            "load_recipe": scenario.load_recipe,
        }
        canonical = json.dumps(self.request, sort_keys=True).encode()
        self.digest = hashlib.sha256(canonical).hexdigest()


def load(extra: Path | None = None, size: str | None = None) -> dict[str, SizedScenario]:
    """Read the packaged scenarios and, where given, the user's own.

    :param extra: a further file of the same form.
    :param size: a size to use instead of each scenario's own.
    :raises TableError: a file is malformed, or a scenario names an unknown size.
    :raises UsageError: ``size`` is unknown.
    """
    found: dict[str, SizedScenario] = {}
    sizes: dict[str, Size] = {}
    for path in filter(None, (tables.packaged("scenarios.toml"), extra)):
        table = tables.load(path, Scenarios)
        sizes.update(table.size)
        if size is not None and size not in sizes:
            raise UsageError(f"there is no size {size}", do=nearest(size, sizes))
        for scenario in table.scenario:
            found[scenario.name] = SizedScenario(scenario, _size(path, scenario, size, sizes))
    return found


def _size(path: Path, scenario: Scenario, size: str | None, sizes: dict[str, Size]) -> Size:
    name = size or scenario.size
    if name not in sizes:
        raise TableError(
            f"{path}: scenario {scenario.name}: there is no size {name}", do=nearest(name, sizes)
        )
    return sizes[name]


def variants() -> dict[str, Variant]:
    """Read the packaged variants, by name."""
    table = tables.load(tables.packaged("variants.toml"), Variants)
    return {variant.name: variant for variant in table.variant}
