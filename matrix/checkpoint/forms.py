"""Rewriting extra states from the form that one release wrote into one that another reads.

A rewrite is made of named steps, applied to each module that needs them:

``map-key``            the attention's state moves from ``core_attention.fused_attention`` to
                       ``core_attention``: the FAQ's key mapping
``unmap-key``          the reverse
``drop-registration``  ``buffer_index_and_autocast_key``, which 1.6 and 1.7 save, goes: it is
                       a mark of the saving process, and a loader that finds it never
                       registers the module, whose scales then never move again
``add-scale-inv``      ``scale_inv`` = 1 / ``scale``, which 1.x asks for and 2.x does not save;
                       the recipe, which 1.x does not know, goes
``add-recipe``         a ``DelayedScaling`` with the state's own history length, which 2.0 to
                       2.3 ask for and 1.x does not save; ``scale_inv`` goes
``spell-out-nothing``  a module without FP8 state is saved as a pickled ``None``
``empty-nothing``      a module without FP8 state is saved as an empty tensor
``drop-state``         the FP8 state is given up; only when asked for
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable
from typing import Literal

from matrix.catalogue import tables
from matrix.catalogue.ranges import covers
from matrix.checkpoint import emit, legacy
from matrix.checkpoint.limits import CheckpointError
from matrix.checkpoint.nodes import Call, Global, Map, Node
from matrix.checkpoint.states import (
    DIRECTIONS,
    KEY,
    REGISTRATION,
    ExtraState,
    Values,
    is_attention,
)

_FUSED = ".fused_attention"
_CORE = "core_attention"
_MOVES = {"core": "map-key", "fused": "unmap-key"}
_PROTOCOL = 4
NOTHING = emit.emit(None, _PROTOCOL)


class Form(tables.Row):
    """One form of extra states; ``forms.toml`` explains the fields."""

    name: str
    summary: str
    read_by: str
    attention_key: Literal["none", "fused", "core"]
    scale_inv: bool
    recipe: bool
    nothing: Literal["pickled None", "empty tensor"]


class _Forms(tables.Row):
    form: tuple[Form, ...]


def load() -> dict[str, Form]:
    """Read the table of forms, by name."""
    rows = tables.load(tables.packaged("forms.toml"), _Forms).form
    return {form.name: form for form in rows}


def read_by(version: str) -> Form | None:
    """Return the form that a release reads, or None for a release that nobody looked at."""
    return next((form for form in load().values() if covers(form.read_by)(version)), None)


@dataclasses.dataclass(frozen=True)
class Edit:
    """What becomes of one extra state.

    :param new_key: the key it gets; None: it is left out.
    :param payload: the bytes of the byte tensor that it becomes, empty for an empty
        tensor; None: it stays as it is.
    :param steps: the steps applied, by name.
    """

    state: ExtraState
    new_key: str | None
    payload: bytes | None
    steps: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether anything changes."""
        return bool(self.steps)


def plan(states: Iterable[ExtraState], form: Form, *, drop: bool = False) -> list[Edit]:
    """Return what rewriting into ``form`` does to each extra state.

    :param drop: give the FP8 state up instead of rewriting it.
    :raises CheckpointError: a state cannot be decoded, or two would get one key.
    """
    edits = [_edit(state, form, drop) for state in states]
    taken: dict[tuple[str, str, str], ExtraState] = {}
    for edit in edits:
        if edit.new_key is None:
            continue
        place = edit.state.file, edit.state.inside, edit.new_key
        if place in taken:
            raise CheckpointError(
                f"{edit.state.key} and {taken[place].key} would both become {edit.new_key}",
                why="the checkpoint holds the attention's state under the old and the new key",
                do="Remove the one that is out of date",
            )
        taken[place] = edit.state
    return edits


def _edit(state: ExtraState, form: Form, drop: bool) -> Edit:
    new_key = moved(state.key, form)
    if state.problem and not drop:
        raise CheckpointError(
            f"the extra state {state.key} cannot be decoded: {state.problem}",
            why="it is not one that Transformer Engine writes, or the file is damaged",
            do="--drop-fp8-state gives all FP8 states up, if that is acceptable",
        )
    if new_key is None:
        return Edit(state, None, None, ("drop-state",))
    steps = () if new_key == state.key else (_MOVES[form.attention_key],)
    if drop and state.holds != "nothing":
        return Edit(state, new_key, _nothing(form), (*steps, "drop-state"))
    if state.fields is None:
        payload, more = _without_state(state, form)
    else:
        payload, more = _with_state(state, form)
    return Edit(state, new_key, payload, (*steps, *more))


def moved(key: str, form: Form) -> str | None:
    """Return where a form keeps the extra state of ``key``; None: it has no such key."""
    match = KEY.search(key)
    assert match is not None
    module, rest = key[: match.start()], key[match.start() :]
    if form.attention_key == "none" and is_attention(key):
        return None
    if form.attention_key == "core" and f".{module}".endswith(_FUSED):
        return module.removesuffix(_FUSED[1:]).removesuffix(".") + rest
    if form.attention_key == "fused" and module.rpartition(".")[2] == _CORE:
        return module + _FUSED + rest
    return key


def _nothing(form: Form) -> bytes:
    return NOTHING if form.nothing == "pickled None" else b""


def _without_state(state: ExtraState, form: Form) -> tuple[bytes | None, tuple[str, ...]]:
    if form.nothing == "empty tensor" and state.kind != "empty tensor":
        return b"", ("empty-nothing",)
    if form.nothing == "pickled None" and state.kind in ("empty tensor", "None"):
        return NOTHING, ("spell-out-nothing",)
    return None, ()


def _with_state(state: ExtraState, form: Form) -> tuple[bytes | None, tuple[str, ...]]:
    fields = state.fields or {}
    steps = []
    if REGISTRATION in state.extra:
        steps.append("drop-registration")
    if form.scale_inv and "scale_fwd" in state.tensors and "scale_inv_fwd" not in state.tensors:
        steps.append("add-scale-inv")
    if form.recipe and "recipe" not in fields:
        steps.append("add-recipe")
    return (encode(state, form) if steps else None), tuple(steps)


def encode(state: ExtraState, form: Form) -> bytes:
    """Return a state's pickle in a form, made anew from its decoded values.

    Nothing of the state's own pickle is in it but plain values: of the objects that it
    names, only the recipe, written anew, is named again.

    :raises CheckpointError: the state is not one of delayed scaling.
    """
    if "amax_history_fwd" not in state.tensors:
        raise CheckpointError(
            f"the extra state {state.key} holds no scales and amaxes",
            why="its recipe is not delayed scaling",
            do="Load it with the release that saved it",
        )
    names = [f"{what}_{way}" for way in DIRECTIONS for what in ("scale", "amax_history")]
    pairs: list[tuple[Node, Node]] = [(name, _tensor(state.tensors[name])) for name in names]
    if form.scale_inv:
        pairs += [(f"scale_inv_{way}", _tensor(_inverse(state, way))) for way in DIRECTIONS]
    if form.recipe:
        pairs.append(("recipe", _recipe(state.tensors["amax_history_fwd"].shape[0])))
    extra = [(name, v) for name, v in state.extra.items() if name != REGISTRATION and _plain(v)]
    pairs.append(("extra_fp8_variables", Map(list(extra))))
    return emit.emit(Map(pairs), _PROTOCOL)


def _inverse(state: ExtraState, way: str) -> Values:
    """Return the state's own ``scale_inv``, or 1 / ``scale`` where it has none."""
    if kept := state.tensors.get(f"scale_inv_{way}"):
        return kept
    scale = state.tensors[f"scale_{way}"]
    numbers = tuple(1.0 / number if number else 0.0 for number in scale.numbers)
    return dataclasses.replace(
        scale, numbers=numbers, data=struct.pack(f"<{len(numbers)}f", *numbers), dtype="float32"
    )


def _plain(node: Node) -> bool:
    """Tell whether a value is made of numbers, strings, lists and tuples alone."""
    if isinstance(node, (list, tuple)):
        return all(_plain(item) for item in node)
    return node is None or isinstance(node, (bool, int, float, str))


def _recipe(history: int) -> Call:
    made = Call("NEWOBJ", Global("transformer_engine.common.recipe", "DelayedScaling"), ())
    made.state.append(Map([("amax_history_len", history)]))
    return made


def _tensor(values: Values) -> Call:
    """Return the call that rebuilds a tensor whose storage is pickled in place."""
    content = legacy.storage_file(values.dtype, values.data)
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
