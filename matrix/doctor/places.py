"""The places of a checkpoint's extra states: the module at each, by which a release is asked.

States that differ in nothing but their values and a number in their path are loaded alike, so
that two of them stand for all.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from matrix.catalogue import features
from matrix.catalogue.state_keys import EXTRA_STATE, state_key
from matrix.checkpoint import kinds, norms, objects, siblings
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.kinds import KeyStyle, Kind
from matrix.checkpoint.nodes import Global, Node
from matrix.checkpoint.states import FUSED_ATTENTION, KEY, ExtraState
from matrix.checkpoint.words import StateContainer
from matrix.doctor.sightings import Assumed

DELAYED = "DelayedScaling"
_REPRESENTATIVES = 2
"""Two states of a kind, because hooks of releases change the list of keys while walking it."""
_SHOWN = 3
_MOST = 400
"""Kinds of states that are asked about; a model has some twenty."""
_GEMMS, _DEPTH = 512, 64
"""The most matrices of a grouped layer, and names in a path, that are built."""
_ORDER = (
    "DotProductAttention",
    "LayerNorm",
    "RMSNorm",
    "Linear",
    "LayerNormLinear",
    "LayerNormMLP",
    "GroupedLinear",
    "ops.Linear",
)
"""Of the modules that a state can be of, the first is built: those with the same numbers of
slots share the code that loads them. What can be a norm has a weight of one dimension, which
no linear layer has."""
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_SHARD = re.compile(r"/shard_(?P<place>[\d.]+)_")


@dataclasses.dataclass(frozen=True)
class Place:
    """A module of the model that the checkpoint is of."""

    key: str
    """The key of its extra state in the checkpoint, or that which it would have."""
    path: str
    """Its path in the model."""
    module: str
    """The module, as ``matrix/worker/modules/tree.py`` names it."""
    gemms: int
    """Number of matrices, of a ``GroupedLinear``; else 0."""
    state: ExtraState | None
    """Its extra state; None where the checkpoint holds none for it."""
    alike: int = 1
    """Number of places that it stands for."""

    @property
    def feature(self) -> str:
        """The module that ``features.toml`` has for it."""
        return "ops.Linear" if self.module.startswith(features.OPERATIONS) else self.module

    @property
    def tree_key(self) -> str:
        """The key of its state in the model that a release is asked with."""
        key = self.state.key if self.state else self.key
        return f"{_prefix(key)}{KEY.sub('', key)}.{EXTRA_STATE}".lstrip(".")

    def is_at(self, path: str) -> bool:
        """Return whether a release keeps the module's metadata at a path in the model."""
        return path in (self.path, f"{self.path}.{FUSED_ATTENTION}".lstrip("."))


@dataclasses.dataclass(frozen=True)
class Places:
    """The places of a checkpoint, those that stand for others alone."""

    places: tuple[Place, ...]
    unasked: tuple[str, ...]
    """What stands for nothing that could be built, one sentence each."""

    def models(self) -> list[list[Place]]:
        """Return the places by model: no two in one model have the same path."""
        found: list[dict[str, Place]] = []
        for place in self.places:
            for model in found:
                if place.path not in model and "" not in (place.path, *model):
                    model[place.path] = place
                    break
            else:
                found.append({place.path: place})
        return [list(model.values()) for model in found]


def places_of(contents: Contents) -> Places:
    """Return the places of a checkpoint's extra states, and of norms that may lack theirs."""
    alike: dict[object, list[Place]] = defaultdict(list)
    unasked: dict[str, int] = defaultdict(int)
    for state, kind in kinds.classify(contents):
        place = _place(state, kind, contents.beside(state.key))
        if isinstance(place, str):
            unasked[place] += 1
            continue
        pattern = _NUMBER.sub("*", place.path)
        alike[pattern, kind, place.module, _others(state)].append(place)
    groups = list(alike.values())
    if len(groups) > _MOST:
        unasked[f"extra states of more than {_MOST} kinds"] += sum(map(len, groups[_MOST:]))
    chosen = [place for group in groups[:_MOST] for place in _representatives(group)]
    if contents.weights:
        unasked["its weights, which are quantized"] += 1
    for path in siblings.without_state(contents)[:_SHOWN]:
        unasked[
            f"{path} has no extra state, and modules like it have one: if it is Transformer "
            "Engine's, strict loading misses that"
        ] += 1
    sentences = (f"{count} x {why}" if count > 1 else why for why, count in unasked.items())
    return Places((*chosen, *_bare_norms(contents)), tuple(sentences))


def _representatives(group: Sequence[Place]) -> Iterator[Place]:
    """Yield the places that stand for a group, preferring different paths."""
    first = {place.path: place for place in reversed(group)}
    picked = list(reversed(first.values()))[:_REPRESENTATIVES]
    for number, place in enumerate(picked):
        share = len(group) // len(picked) + (number < len(group) % len(picked))
        yield dataclasses.replace(place, alike=share)


def _others(state: ExtraState) -> object:
    """Return what else of a state makes a difference: its variables, and numbers of overflow."""
    return tuple(sorted(state.extra)), is_finite(state)


def is_finite(state: ExtraState) -> bool:
    """Return whether no value of a state is NaN or infinite, as an overflow leaves it."""
    return all(math.isfinite(n) for values in state.tensors.values() for n in values.numbers)


def _place(state: ExtraState, kind: Kind, beside: kinds.Beside) -> Place | str:
    """Return the place of a state, or why none can be built for it."""
    if state.problem:
        return f"{state.key}: {state.problem}"
    if not kind.modules:
        return f"{state.key}: no module of Transformer Engine is known that has such a state"
    module = _module(kind, beside)
    if module == "ops.Linear":
        bare = kind.traits.slots is None and "weight" not in beside
        module = "ops.Bias" if bare else "ops.BasicLinear"
    slots = kind.traits.slots
    gemms = slots[0] // 3 if slots and module == "GroupedLinear" else 0
    path = _path(state.key, kind.traits.style)
    names = path.split(".")
    if gemms > _GEMMS or len(names) > _DEPTH or (path and "" in names):
        return f"{state.key}: no model has such a module"
    return Place(state.key, path, module, gemms, state)


def _module(kind: Kind, beside: kinds.Beside) -> str:
    """Return the module to build of those that a state can be of."""
    possible = kind.modules - ({"LayerNorm"} if "bias" not in beside else {"RMSNorm"})
    if not beside:
        possible -= {"LayerNorm", "RMSNorm"}
    return min(possible or kind.modules, key=_ORDER.index)


def _path(key: str, style: KeyStyle) -> str:
    names = KEY.sub("", key).split(".")
    if style in (KeyStyle.FUSED, KeyStyle.OTHER_FUSED):
        names = names[: len(names) - 1 - names[::-1].index(FUSED_ATTENTION)]
    return f"{_prefix(key)}{'.'.join(names)}".rstrip(".")


def _prefix(key: str) -> str:
    """Return the shard of a state as the first names of its path: shards are layers."""
    shard = _SHARD.search(key)
    return f"{shard['place']}." if shard else ""


def _bare_norms(contents: Contents) -> Iterator[Place]:
    """Yield the norms without an extra state, where all states are such as 1.12 and older save.

    Whether a norm is Transformer Engine's is not known.
    """
    if not contents.states or any(s.container != StateContainer.BYTES_IO for s in contents.states):
        return
    groups: dict[str, list[Place]] = defaultdict(list)
    for path, module in norms.without_state(contents).items():
        groups[_NUMBER.sub("*", path)].append(Place(state_key(path), path, module, 0, None))
    for group in groups.values():
        yield from _representatives(group)


def recipe_of(state: ExtraState) -> dict[str, object] | None:
    """Return class and fields of the recipe that a module with such a state trains under.

    :returns: None where the state does not tell.
    """
    local = state.extra.get(kinds.LOCAL_RECIPES)
    for recipe in (*(local if isinstance(local, list) else ()), state.recipe):
        if recipe is not None and (name := _class(recipe)) != DELAYED:
            return {"class": name, **_fields(recipe)}
    histories = [t.shape[0] for what, t in state.tensors.items() if "amax" in what and t.shape]
    return {"amax_history_len": histories[0]} if histories else None


def _fields(recipe: Node) -> dict[str, object]:
    """Return the fields of a recipe without which modules cannot step as they did."""
    found = objects.attributes(recipe)
    fields: dict[str, object] = {"fp8_dpa": True} if found.get("fp8_dpa") is True else {}
    if isinstance(factory := found.get("qfactory"), Global):
        # A user's own is not found in the worker, whose process then says so.
        fields["qfactory"] = factory.name
    return fields


def _class(recipe: Node) -> str:
    return objects.describe(recipe).removeprefix(kinds.RECIPES)


@dataclasses.dataclass
class Group:
    """Places that train under one recipe."""

    recipe: dict[str, object]
    """Class and fields of the recipe."""
    places: list[Place]


def by_recipe(places: Iterable[Place], assumed: Assumed | None = None) -> list[Group]:
    """Return the places by the recipe that they train under, the largest group first.

    Places whose state does not tell go with that.

    :param assumed: the recipe that a release loads with; by default the one of each state.
    """
    groups: dict[object, Group] = {}
    rest: list[Place] = []
    for place in places:
        recipe = recipe_of(place.state) if place.state else None
        recipe = _as_assumed(recipe, assumed)
        if recipe is None:
            rest.append(place)
            continue
        same = recipe.get("class"), recipe.get("amax_history_len")
        group = groups.setdefault(same, Group({}, []))
        group.recipe |= recipe
        group.places.append(place)
    found = sorted(groups.values(), key=lambda group: -len(group.places)) or [Group({}, [])]
    found[0].places.extend(rest)
    return found


def _as_assumed(
    recipe: dict[str, object] | None, assumed: Assumed | None
) -> dict[str, object] | None:
    if assumed is None:
        return recipe
    if assumed.recipe is not None and (recipe or {}).get("class", DELAYED) != assumed.recipe:
        recipe = {} if assumed.recipe == DELAYED else {"class": assumed.recipe}
    if recipe is not None and "class" not in recipe:
        recipe = {"amax_history_len": assumed.history}
    return recipe


def history_of(places: Places) -> int | None:
    """Return the length of the amax histories, if it is one and the same in all states."""
    recipes = (recipe_of(place.state) or {} for place in places.places if place.state)
    lengths = {r["amax_history_len"] for r in recipes if "amax_history_len" in r}
    found = lengths.pop() if len(lengths) == 1 else None
    return found if isinstance(found, int) else None


def in_catalogue(recipe: Mapping[str, object]) -> bool:
    """Return whether a recipe's class is one that the catalogue knows."""
    return recipe.get("class", DELAYED) in features.load().recipes
