"""What an extra state is, as far as it tells: its traits, and the modules that it can be of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

from matrix.catalogue import features, tables
from matrix.catalogue.state_keys import CORE_ATTENTION, state_key
from matrix.catalogue.words import Word
from matrix.checkpoint import norms, objects
from matrix.checkpoint.contents import Contents, TensorKind
from matrix.checkpoint.states import FUSED_ATTENTION, REGISTRATION, ExtraState
from matrix.checkpoint.words import Holds, StateContainer

RECIPES = "transformer_engine.common.recipe."
"""The module of Transformer Engine's own recipes, as pickles name it."""
LOCAL_RECIPES = "local_recipes"
"""Variable in the states of attention from 2.8 on."""
_WEIGHT = "weight"
Beside: TypeAlias = Mapping[str, TensorKind]
"""The tensors of a module beside its extra state, by name."""


class KeyStyle(Word):
    """Where the state of an attention module lies, as releases tell it by the key."""

    CORE = "core_attention"
    """Under ``core_attention``, where the hooks of releases look."""
    FUSED = "core_attention.fused_attention"
    """One level deeper, as 1.6 and 1.7 save it."""
    OTHER = "another name"
    """Under a name of the model's own."""
    OTHER_FUSED = "another name.fused_attention"
    NONE = "no attention"
    """It is not the state of an attention module, as far as it tells."""


@dataclasses.dataclass(frozen=True)
class Traits:
    """What of an extra state can make a difference to a release that loads it."""

    container: str
    """What it was saved in, see :class:`StateContainer`; or the type as text."""
    style: KeyStyle = KeyStyle.NONE
    fields: tuple[str, ...] | None = None
    """Its top-level fields, sorted; None where the module was saved without FP8 state."""
    recipe: str | None = None
    """The recipe's class, without the module of Transformer Engine's own; None without one."""
    slots: tuple[int, int] | None = None
    """Number of scales, forward and backward; None where there are none."""
    history: int | None = None
    """Length of the amax histories, in steps."""
    dtype: str | None = None
    """Element type of scales and histories."""
    marked: bool = False
    """Whether it contains the mark of registration, which freezes it in loaders that keep it."""
    local_recipes: bool = False
    """Whether the state of attention lists its local recipes."""
    cast: str = ""
    """The element type that the state as a whole was cast to; empty where it was not."""
    weights: str = ""
    """What rebuilds the module's quantized weights; empty where they are in high precision."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One extra state, classified."""

    traits: Traits
    modules: frozenset[str]
    """The modules that it can be of, as ``features.toml`` names them. Empty where none is known
    that has such a state."""
    holds: Holds
    """What a loader that resets the state would lose."""


class ModuleTraits(tables.Row):
    """What tells a module by its state; ``state_modules.toml`` explains the fields."""

    module: str
    gemms: int | Literal["any"] = 0
    operation: bool = False
    under: str = ""
    parameters: tuple[str, ...] = ()
    dimensions: Literal[1, "none", "matrix"] = "matrix"
    variables: tuple[str, ...] = ()


class _Modules(tables.Row):
    module: tuple[ModuleTraits, ...]


@functools.cache
def modules() -> tuple[ModuleTraits, ...]:
    """Return the modules that are told apart by their states."""
    return tables.load(tables.packaged("state_modules.toml"), _Modules).module


def classify(contents: Contents) -> Iterator[tuple[ExtraState, Kind]]:
    """Yield the extra states of a checkpoint that are Transformer Engine's, classified."""
    # That nothing lies beside a state tells something only where weights lie beside others.
    with_weights = any(contents.beside(state.key) for state in contents.states)
    for state in contents.states:
        beside: Beside | None = contents.beside(state.key)
        if not beside and (state.shard or not with_weights):
            beside = None
        elif beside and state.shard:
            # The layers of a shard's tensors may be stacked along another dimension.
            beside = {name: tensor._replace(dimensions=None) for name, tensor in beside.items()}
        yield state, kind_of(state, beside)


def kind_of(state: ExtraState, beside: Beside | None = None) -> Kind:
    """Return what an extra state is.

    :param beside: the tensors of the same module, by name, see :meth:`Contents.beside`. None
        where that is not known.
    """
    traits = dataclasses.replace(_traits(state), weights=_weights(beside or {}))
    possible = frozenset(row.module for row in modules() if _fits(row, state, traits, beside))
    if ATTENTION not in possible:
        traits = without_style(traits)
    return Kind(traits, possible, state.holds)


def of_contents(contents: Contents) -> Iterator[tuple[str, Kind]]:
    """Yield the kinds of a checkpoint's extra states, and of those that it lacks, by key.

    It lacks those of modules that have a state in later releases, as norms have from 1.13 on: as
    far as their parameters tell, as a norm of PyTorch has the same.
    """
    for state, kind in classify(contents):
        yield state.key, kind
    later = frozenset(row.module for row in modules() if _has_state_later(row))
    for module in norms.without_state(contents):
        yield state_key(module), Kind(Traits(ABSENT), later, Holds.NOTHING)


ABSENT = "absent"
"""The container of an extra state that is not there."""


def _has_state_later(row: ModuleTraits) -> bool:
    known = features.load().modules.get(row.module)
    return row.dimensions == 1 and known is not None and known.state is not None


def without_style(traits: Traits) -> Traits:
    """Return traits without where the state of an attention module lies."""
    return dataclasses.replace(traits, style=KeyStyle.NONE)


ATTENTION = "DotProductAttention"
"""The module that computes attention, inside others or by itself."""


def _traits(state: ExtraState) -> Traits:
    scales = [
        sum(tensor.count for name, tensor in state.tensors.items() if _is_scale(name, way))
        for way in ("fwd", "bwd")
    ]
    histories = {t.shape[0] for name, t in state.tensors.items() if "amax" in name and t.shape}
    dtypes = {tensor.dtype for tensor in state.tensors.values()}
    return Traits(
        container=str(state.container),
        style=_style(state),
        fields=None if state.fields is None else tuple(sorted(state.fields)),
        recipe=_recipe(state),
        slots=(scales[0], scales[1]) if state.tensors and _is_regular(state) else None,
        history=histories.pop() if len(histories) == 1 else None,
        dtype=dtypes.pop() if len(dtypes) == 1 else "/".join(sorted(dtypes)) or None,
        marked=REGISTRATION in state.extra,
        local_recipes=LOCAL_RECIPES in state.extra,
        cast=state.cast,
    )


def _weights(beside: Beside) -> str:
    return ", ".join(sorted({tensor.rebuilt_by for tensor in beside.values()} - {""}))


def _is_scale(name: str, way: str) -> bool:
    return name.rpartition(".")[2] == f"scale_{way}"


def _is_regular(state: ExtraState) -> bool:
    """Return whether scales have one dimension, and histories a column for each scale."""
    for name, tensor in state.tensors.items():
        mode, _dot, field = name.rpartition(".")
        columns = state.tensors.get(f"{mode}.scale_{field[-3:]}".lstrip("."))
        count = columns.count if columns else None
        expected = (*tensor.shape[:1], count) if "amax" in field else (count,)
        if tensor.shape != expected:
            return False
    return True


_HISTORY_FIELD = "amax_history_len"


def _recipe(state: ExtraState) -> str | None:
    """Return the recipe's class, and its length of the history where that is not the state's."""
    if state.recipe is None:
        return None
    name = objects.describe(state.recipe).removeprefix(RECIPES)
    stated = objects.attributes(state.recipe).get(_HISTORY_FIELD)
    held = {t.shape[0] for field, t in state.tensors.items() if "amax" in field and t.shape}
    return f"{name} with {_HISTORY_FIELD} {stated}" if held and held != {stated} else name


def _style(state: ExtraState) -> KeyStyle:
    path = state.unwrapped.split(".")
    if path[-1] == FUSED_ATTENTION:
        return KeyStyle.FUSED if CORE_ATTENTION in path else KeyStyle.OTHER_FUSED
    return KeyStyle.CORE if CORE_ATTENTION in path else KeyStyle.OTHER


def _fits(
    row: ModuleTraits,
    state: ExtraState,
    traits: Traits,
    beside: Beside | None,
) -> bool:
    """Return whether a state can be that of a module."""
    if state.problem:
        return False
    if state.attention:
        return row.module == ATTENTION
    return (
        _fits_state(row, state, traits)
        and (state.operation or _fits_name(row, state))
        and (beside is None or _fits_parameters(row, beside))
        and all(name in row.variables or name not in state.extra for name in _telling_variables())
    )


@functools.cache
def _telling_variables() -> frozenset[str]:
    return frozenset(name for row in modules() for name in row.variables)


@functools.cache
def _telling_parameters() -> frozenset[str]:
    return frozenset(name for row in modules() for name in row.parameters)


def _fits_name(row: ModuleTraits, state: ExtraState) -> bool:
    path = state.unwrapped.split(".")
    return all((name == row.under) == (name in path) for name in _telling_names())


@functools.cache
def _telling_names() -> frozenset[str]:
    return frozenset(row.under for row in modules()) - {""}


def _fits_state(row: ModuleTraits, state: ExtraState, traits: Traits) -> bool:
    if traits.container == StateContainer.EMPTY_FLOATS.value or state.fields == {}:
        return row.operation
    if state.fields is None:
        return True
    if row.operation != state.operation:
        return False
    if row.operation:
        return bool(row.gemms)
    if traits.slots is None or (row.variables and set(row.variables) & state.extra.keys()):
        return True
    gemms = traits.slots[0] // 3
    return traits.slots == (3 * gemms, 2 * gemms) and row.gemms in (gemms, "any")


def _fits_parameters(row: ModuleTraits, beside: Beside) -> bool:
    """Return whether the tensors beside a state can be the parameters of a module."""
    if _telling_parameters() & beside.keys() != set(row.parameters):
        return False
    weight = beside.get(_WEIGHT)
    match row.dimensions:
        case "none":
            return not any(name.endswith(_WEIGHT) for name in beside)
        case "matrix":
            return bool(beside) and (weight is None or weight.dimensions != 1)
        case _:
            return weight in (TensorKind(1), TensorKind(None))
