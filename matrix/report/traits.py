"""What tells scenarios apart, in words: module, recipe, and all else.

Dozens of scenarios are told apart by a name only by who knows the table; a reader knows the
module and the recipe that a model has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from matrix.catalogue.state_keys import CORE_ATTENTION
from matrix.report.document import RecipeRow, ScenarioRow

NO_RECIPE = "no recipe"
"""Stands for the recipe of scenarios in which none leaves a trace in the checkpoint."""

_STATE = {
    "all": "FP8 state in all parts",
    "attention": "FP8 state in the attention only",
    "linears": "FP8 state in all parts but the attention",
    "none": "no FP8 state",
}


@dataclasses.dataclass(frozen=True)
class Traits:
    """What tells one scenario from the others."""

    scenario: str
    """Name of the scenario."""
    module: str
    """Name of its module."""
    recipe: str
    """The recipe's class; with an arrow, those of saver and loader; or :data:`NO_RECIPE`."""
    checkpoint: str
    """State, weights, fields of the recipe, transport, and what else is not the default."""

    @property
    def kind(self) -> str:
        """All but the module: the kind of checkpoint, which modules can be compared in."""
        return f"{self.recipe}, {self.checkpoint}"


def of(row: ScenarioRow) -> Traits:
    """Return what tells a scenario from the others."""
    return Traits(row.name, row.module, _recipe(row), ", ".join(_checkpoint(row)))


def modules(found: Iterable[Traits]) -> list[str]:
    """Return the names of all modules, each once, in the order of the scenarios."""
    return list(dict.fromkeys(one.module for one in found))


def _recipe(row: ScenarioRow) -> str:
    if row.state == "none" and row.weights == "high-precision":
        return NO_RECIPE
    return _changed(row.save_recipe.name, row.load_recipe.name)


def _changed(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _checkpoint(row: ScenarioRow) -> Iterator[str]:
    yield _STATE.get(row.state, row.state)
    if row.weights != "high-precision":
        yield "quantized weights"
    yield from _fields(row.save_recipe, row.load_recipe)
    if row.layers != 1:
        yield f"{row.layers} layers"
    if row.attention != CORE_ATTENTION:
        yield f"attention called {row.attention}"
    if row.transport.distributed:
        yield "distributed checkpoint"
    if row.transport.weights_only:
        yield "weights_only=True"
    if not row.transport.strict:
        yield "strict=False"


def _fields(save: RecipeRow, load: RecipeRow) -> Iterator[str]:
    """Yield the recipes' fields that are given; of two recipes, each that differs with both values.

    A field that only one side gives has its default on the other.
    """
    for name in dict.fromkeys([*save.fields, *load.fields]):
        values = [str(recipe.fields.get(name, "default")) for recipe in (save, load)]
        yield f"{name}={_changed(*values)}"
