"""Decoded extra states written as pickles in the form that a release reads."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable, Iterable, Mapping
from types import NoneType

from matrix.catalogue.forms import Form
from matrix.checkpoint import dropping, emit, nodes, objects, operations, torch_legacy
from matrix.checkpoint.errors import CheckpointError, refusing_malformed
from matrix.checkpoint.metadata import MetadataTensor
from matrix.checkpoint.nodes import Call, Global, Map, Node
from matrix.checkpoint.states import DIRECTIONS, REGISTRATION, ExtraState
from matrix.system.counting import counted

PROTOCOL = 4
TensorWriter = Callable[[MetadataTensor], Node]
"""Returns the inert value of a metadata tensor."""
Pairs = list[tuple[Node, Node]]
_RECIPES, _DELAYED = "transformer_engine.common.recipe", "DelayedScaling"
_DAMAGED = "it is not one that Transformer Engine writes, or the file is damaged"


def encode(state: ExtraState, form: Form) -> bytes:
    """Return a state's pickle in a form, built from its decoded values.

    Nothing but plain values is copied from the state's own pickle, and nothing that it names
    is named again: the recipe is built here.

    :raises CheckpointError: the state is not one of delayed scaling, or cannot be pickled.
    """
    pairs = _of_operation(state, form) if state.operation else _of_module(state, form)
    what = f"the extra state {state.key} cannot be written"
    with refusing_malformed(what, _DAMAGED, dropping.ADVICE):
        return emit.emit(Map(pairs), PROTOCOL)


def _of_module(state: ExtraState, form: Form) -> Pairs:
    names = [f"{what}_{way}" for way in DIRECTIONS for what in ("scale", "amax_history")]
    _check_whole(state, names)
    pairs: Pairs = [(name, tensor(state.tensors[name])) for name in names]
    if form.scale_inv:
        pairs += [(f"scale_inv_{way}", tensor(_inverse(state, way))) for way in DIRECTIONS]
    if form.recipe:
        pairs.append(("recipe", _recipe(state, state.tensors["amax_history_fwd"].shape[0])))
    if form.global_state:
        pairs += [("global_fp8_buffer", Map()), ("global_fp8_state", Map())]
    pairs.append(("extra_fp8_variables", _variables(state.fields or {})))
    return pairs


def _of_operation(state: ExtraState, form: Form) -> Pairs:
    tensors = operations.merged(state) if form.recipe else operations.split(state)
    by_mode: dict[str, Pairs] = {}
    for name, values in tensors.items():
        mode, _, field = name.partition(".")
        _check_dimensions(state.key, field, values)
        pairs = by_mode.setdefault(mode, [])
        pairs.append((field, tensor(values)))
        if form.scale_inv and field.startswith("scale_"):
            pairs.append((field.replace("scale", "scale_inv"), tensor(_inverted(values))))
        if form.recipe and field.startswith("amax"):
            pairs.append(("recipe", _recipe(state, values.shape[0])))
    for mode, pairs in by_mode.items():
        pairs.append(("extra_fp8_variables", _variables(state.modes.get(mode, {}))))
    return [(mode, Map(pairs)) for mode, pairs in by_mode.items()]


def _variables(fields: Mapping[str, Node]) -> Map:
    """Return the variables beside tensors and recipe, as far as they are plain values."""
    extra = objects.fields(fields.get("extra_fp8_variables")) or {}
    return Map([(name, v) for name, v in extra.items() if name != REGISTRATION and _plain(v)])


def _check_whole(state: ExtraState, names: Iterable[str]) -> None:
    """Check that every tensor of delayed scaling is there, in as many dimensions as it has."""
    for name in names:
        _check_dimensions(state.key, name, state.tensors.get(name))


def _check_dimensions(key: str, name: str, tensor: MetadataTensor | None) -> None:
    dimensions = 2 if name.startswith("amax") else 1
    if tensor is None or len(tensor.shape) != dimensions:
        raise CheckpointError(
            f"the extra state {key} has no {name} of {counted(dimensions, 'dimension')}",
            why=_DAMAGED,
            do=dropping.ADVICE,
        )


def _inverse(state: ExtraState, way: str) -> MetadataTensor:
    """Return the state's own ``scale_inv``, or 1 / ``scale`` where it has none."""
    if kept := state.tensors.get(f"scale_inv_{way}"):
        return kept
    return _inverted(state.tensors[f"scale_{way}"])


def _inverted(scale: MetadataTensor) -> MetadataTensor:
    data = b"".join(map(_float32_inverse, scale.numbers))
    return dataclasses.replace(scale, data=data, dtype="float32")


def _float32_inverse(number: float) -> bytes:
    """Return 1 / ``number`` as PyTorch computes it in float32, but 0 for 0."""
    inverse = 1.0 / number if number else 0.0
    try:
        return struct.pack("<f", inverse)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, inverse))


def _plain(node: Node) -> bool:
    """Return whether a value consists of numbers, strings, lists and tuples alone."""
    # A value that holds another many times over is looked at once.
    kinds = (bool, int, float, str, list, tuple, NoneType)
    return all(isinstance(part, kinds) for part in nodes.every(node))


def _recipe(state: ExtraState, history: int) -> Call:
    """Return a ``DelayedScaling`` with the plain fields of the state's own, if it has one."""
    fields: dict[str, Node] = {}
    if state.recipe is not None and objects.describe(state.recipe) == f"{_RECIPES}.{_DELAYED}":
        own = objects.attributes(state.recipe)
        fields = {name: value for name, value in own.items() if _plain(value)}
    # The representation, which 2.16 and later cache, states the length of the history.
    fields.pop("_cached_repr", None)
    fields["amax_history_len"] = history
    made = Call("NEWOBJ", Global(_RECIPES, _DELAYED), ())
    made.state.append(Map(list(fields.items())))
    return made


def tensor(values: MetadataTensor) -> Call:
    """Return the call that rebuilds a tensor whose storage is inside the same pickle."""
    content = torch_legacy.storage_file(values.dtype, values.data)
    storage = Call("REDUCE", Global("torch.storage", "_load_from_bytes"), (content,))
    return tensor_call(storage, values.shape)


def tensor_call(storage: Node, shape: tuple[int, ...]) -> Call:
    """Return the call that rebuilds a contiguous tensor on a storage."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    hooks = Call("REDUCE", Global("collections", "OrderedDict"), ())
    arguments = (storage, 0, shape, tuple(reversed(strides)), False, hooks)
    return Call("REDUCE", Global("torch._utils", "_rebuild_tensor_v2"), arguments)
