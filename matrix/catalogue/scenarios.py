"""Scenarios and variants: how a checkpoint is made and how it is loaded."""

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
    """Dimensions of the attention module."""

    hidden_size: int = Field(gt=0)
    """Width of the module's input and output."""
    attention_heads: int = Field(gt=0)
    """Number of attention heads."""


class Transport(tables.Row):
    """Arguments of ``torch.load`` and ``load_state_dict``."""

    weights_only: bool = False
    """``weights_only`` of ``torch.load``."""
    strict: bool = True
    """``strict`` of ``load_state_dict``."""


class Scenario(tables.Row):
    """One way to make a checkpoint."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """Name of the scenario in selections and reports."""
    summary: str
    """The scenario in one line, for people."""
    size: str
    """Name of the size to build the module in, unless the run chooses another."""
    layers: int = Field(default=1, gt=0)
    """Number of ``MultiheadAttention`` modules in the model."""
    weights: Literal["high-precision", "fp8"] = "high-precision"
    """Format of the weights; ``fp8`` builds the model under the release's FP8 model init."""
    state: Literal["all", "attention"] = "all"
    """The modules that hold FP8 metadata when the checkpoint is saved."""
    save_recipe: dict[str, Any] = Field(default_factory=dict)
    """Fields of ``DelayedScaling`` for saving, beside ``fp8_dpa`` and ``fp8_mha``."""
    load_recipe: dict[str, Any] = Field(default_factory=dict)
    """Fields of ``DelayedScaling`` for loading, beside ``fp8_dpa`` and ``fp8_mha``."""
    transport: Transport = Transport()
    """How the file is loaded."""


REWRITE = "rewrite:"
"""Prefix of the names of variants that load a rewritten file."""


class Variant(tables.Row):
    """One way to load a checkpoint."""

    name: str
    """Name of the variant in selections and reports."""
    summary: str
    """The variant in one line, for people."""
    rewrite: str | None = None
    """Name of the change to the state dict that the worker makes before loading it."""
    form: str | None = None
    """Name of the form (see ``forms.toml``) that the file is rewritten into first."""
    saved_by: tuple[str, ...] | None = None
    """Bands of saving releases that the variant applies to; absent: all."""
    savers: str | None = Field(default=None, alias="from")
    """Closed ranges of saving releases that the variant applies to; absent: all."""
    into: str | None = None
    """Closed ranges of loading releases that the variant applies to; absent: all."""
    opt_in: Literal["never", "only", "any"] = "never"
    """When the loader's opt-in for pickled extra state is set.

    ``never``; ``only``: always, and the variant applies only to loaders that have one;
    ``any``: where the loader has one.
    """

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        for ranges in filter(None, (self.savers, self.into)):
            covers(ranges)
        if self.name.startswith(REWRITE) != (self.form is not None):
            raise ValueError(f"a variant with a form, and no other, is called {REWRITE}NAME")
        return self

    def covers(self, saver: Release, loader: Release) -> bool:
        """Return whether both releases lie in the variant's ranges. A candidate never does."""
        return all(
            ranges is None or (not release.candidate and covers(ranges)(release.version))
            for ranges, release in ((self.savers, saver), (self.into, loader))
        )


class Scenarios(tables.Row):
    """Contents of ``scenarios.toml``, or of a user's own file."""

    size: dict[str, Size] = Field(default_factory=dict)
    """Sizes by name. A user's own file may also use the packaged ones."""
    scenario: tuple[Scenario, ...]
    """The scenarios."""


class Variants(tables.Row):
    """Contents of ``variants.toml``."""

    variant: tuple[Variant, ...]
    """The variants."""


class SizedScenario:
    """A scenario at one size.

    ``request`` is the description that the worker process receives. ``digest``, which is part
    of the keys of evidence, is the SHA-256 of its canonical JSON without the fields that have
    their defaults: a field that is added later changes no digest of a scenario without it.
    """

    def __init__(self, scenario: Scenario, size: Size) -> None:
        self.scenario = scenario
        self.size = size
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
        declared = scenario.model_dump(
            exclude={"name", "summary", "size"}, exclude_defaults=True, mode="json"
        )
        canonical = json.dumps({**size.model_dump(), **declared}, sort_keys=True).encode()
        self.digest = hashlib.sha256(canonical).hexdigest()

    @property
    def one_recipe(self) -> bool:
        """Whether it is loaded under the recipe that it was saved with."""
        return self.scenario.save_recipe == self.scenario.load_recipe

    def under_own_recipe(self) -> SizedScenario:
        """Return the scenario, loaded under the recipe that it was saved with."""
        same = {"name": f"{self.name}/own-recipe", "load_recipe": self.scenario.save_recipe}
        return SizedScenario(self.scenario.model_copy(update=same), self.size)


def load(extra: Path | None = None, size: str | None = None) -> dict[str, SizedScenario]:
    """Read the packaged scenarios and a user's own, and return them by name.

    :param extra: a further file of the same form.
    :param size: name of the size to use for all scenarios; by default each has its own.
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
    """Read the packaged variants, and return them by name."""
    table = tables.load(tables.packaged("variants.toml"), Variants)
    return {variant.name: variant for variant in table.variant}
