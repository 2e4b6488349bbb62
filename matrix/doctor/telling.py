"""What of a checkpoint tells the releases that can have written it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from matrix.checkpoint import kinds, objects
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.kinds import ATTENTION, LOCAL_RECIPES, RECIPES, Kind
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds

MARK = "mark"
"""The family of the mark of registration. A state that was loaded and saved again without a step
in between lacks it in every release."""
_VARIABLES = ("inp_shape", LOCAL_RECIPES)
"""Variables that are in the states of some releases whatever the module was used for."""


class Trait(NamedTuple):
    """Something that the checkpoints of some releases have, and those of others do not."""

    family: str
    """What kind of thing, see ``writers.toml``."""
    value: str

    def __str__(self) -> str:
        return f"{self.family}: {self.value}"

    @property
    def short(self) -> str:
        """The value without the names of fields and arguments, for people."""
        return self.value.partition(" ")[0] if self.family in ("recipe", "weights") else self.value


def traits(contents: Contents) -> frozenset[Trait]:
    """Return the traits of a checkpoint."""
    found: set[Trait] = set()
    cast = any(state.cast for state in contents.states)
    for state, kind in kinds.classify(contents):
        # A cast leaves nothing of the type that an empty tensor had.
        if not state.problem and not state.cast and (state.fields is not None or not cast):
            found.update(_of_state(state, kind))
    for tensor in contents.tensors.values():
        if tensor.rebuilt_by:
            found.add(Trait("weights", tensor.rebuilt_by))
    return frozenset(found)


def _of_state(state: ExtraState, kind: Kind) -> Iterator[Trait]:
    if kind.modules == {ATTENTION}:
        yield Trait("key", kind.traits.style.value)
    if not state.fields:
        held = "a pickled None" if state.fields is None else "a pickled empty dict"
        empty = "" if state.size == 0 and state.fields is None else f", {held}"
        yield Trait("nothing", f"{state.container}{empty}")
        return
    whose = "an operation" if state.operation else "a module"
    yield Trait("container", f"{state.container}, of {whose}")
    yield Trait("fields", ", ".join(sorted(state.fields)))
    # What was never stepped, and holds defaults, was not registered in any release.
    if kind.traits.marked or (state.holds == Holds.METADATA and not state.operation):
        yield Trait(MARK, "with" if kind.traits.marked else "without")
    yield from (Trait("variable", name) for name in _VARIABLES if name in state.extra)
    if state.recipe is not None:
        yield from _of_recipe(state, kind)


def _of_recipe(state: ExtraState, kind: Kind) -> Iterator[Trait]:
    name = objects.describe(state.recipe).removeprefix(RECIPES)
    fields = ", ".join(sorted(objects.attributes(state.recipe)))
    yield Trait("recipe", f"{name} with {fields}")
    if kind.modules == {ATTENTION}:
        has = "with" if LOCAL_RECIPES in state.extra else "without"
        yield Trait("local recipes", f"{name} {has} a list of local recipes")
