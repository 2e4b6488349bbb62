"""Edits that rewrite extra states from the form that one release saves to one that another reads.

A rewrite consists of named steps. Each is applied to the modules that need it:

``map-key``            the attention's state moves from ``fused_attention`` to the module above
                       it: the FAQ's key mapping, under whatever name the attention has
``unmap-key``          the reverse
``drop-registration``  removes ``buffer_index_and_autocast_key``, which 1.6 and 1.7 save: it
                       belongs to the saving process, and a loader that finds it never
                       registers the module, so that its scales are never updated again
``add-scale-inv``      adds ``scale_inv`` = 1 / ``scale``, which 1.x requires and 2.x does not
                       save; removes the recipe, which 1.x does not know
``add-recipe``         adds a ``DelayedScaling`` with the state's own history length, which 2.0
                       to 2.3 require, and later releases to load another length than 1024; 1.x
                       does not save it. Removes ``scale_inv``
``set-history``        gives the recipe the state's own history length, by which 2.x makes room
``drop-recipe``        a state that holds a recipe and no metadata becomes one without FP8 state:
                       the release lacks the recipe, or would look for metadata
``add-global-state``   adds an empty ``global_fp8_buffer`` and ``global_fp8_state``, which 1.0 to
                       1.5 require and later releases do not save: amaxes that were not reduced
                       yet, which a checkpoint between two steps has none of
``merge-modes``        an operation's ``input`` and ``param`` become ``forward``, its
                       ``grad_output`` ``backward``, as 2.0 and later have them
``split-modes``        the reverse, for 1.13 and 1.14
``undo-cast``          a byte tensor that was cast to another type, or became an array, bytes or a
                       list of numbers, becomes one of bytes again
``spell-out-nothing``  a module without FP8 state is saved as a pickled ``None``
``empty-nothing``      a module without FP8 state is saved as an empty tensor
``drop-key``           removes a key that the release does not expect, and that holds nothing
``add-key``            adds the empty state of a norm, which 1.13 and later expect
``drop-state``         removes the FP8 state; only on request, see :mod:`dropping`
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from matrix.catalogue import features
from matrix.catalogue.forms import Form
from matrix.catalogue.state_keys import WRAPPERS
from matrix.checkpoint import dropping, emit, kinds, objects, operations
from matrix.checkpoint import norms as adding
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.encoding import PROTOCOL, encode
from matrix.checkpoint.errors import CheckpointError, LossError
from matrix.checkpoint.kinds import ATTENTION, LOCAL_RECIPES, Kind
from matrix.checkpoint.states import FUSED_ATTENTION, KEY, REGISTRATION, ExtraState
from matrix.checkpoint.words import Holds, StateContainer, Step

_MOVES = {"core": Step.MAP_KEY, "fused": Step.UNMAP_KEY}
_SHORT_NOTHING = (StateContainer.EMPTY_TENSOR, StateContainer.NONE)
_PICKLED_NONE = emit.emit(None, PROTOCOL)
_SLOTS = (9, 6)
"""Numbers of scales of attention under delayed scaling, forward and backward."""


@dataclasses.dataclass(frozen=True)
class Edit:
    """The change to one extra state; without steps there is none."""

    state: ExtraState
    new_key: str | None
    """The key after the edit, or None to remove the state."""
    payload: bytes | None
    """Bytes of the byte tensor that replaces the state; None to leave its value as it is."""
    steps: tuple[Step, ...]

    @property
    def changes(self) -> bool:
        """Whether the edit changes anything."""
        return bool(self.steps)


Edits = Mapping[tuple[str, str], Edit]
"""Edits of one file by (``ExtraState.inside``, key)."""


def by_place(edits: Iterable[Edit]) -> Edits:
    """Return the edits of one file by (``ExtraState.inside``, key)."""
    return {(edit.state.inside, edit.state.key): edit for edit in edits}


def needs_opt_in(edit: Edit) -> bool:
    """Return whether a state, after an edit, is one that some releases refuse without an opt-in.

    They refuse pickled metadata, and every ``io.BytesIO``; see ``_extra_state.py`` of 2.16.1.
    """
    if edit.new_key is None:
        return False
    if edit.payload is None and edit.state.container is StateContainer.BYTES_IO:
        return True
    is_given_up = Step.DROP_STATE in edit.steps
    return bool(edit.state.tensors) and edit.payload != b"" and not is_given_up


def plan(
    contents: Contents,
    form: Form,
    *,
    drop: Collection[str] = (),
    norms: Collection[str] = (),
    lenient: bool = False,
) -> list[Edit]:
    """Return the edit of each extra state that rewrites a checkpoint into a form.

    :param drop: names of the states to remove instead of rewriting them, see :mod:`dropping`.
    :param norms: patterns of the paths of norms that get an extra state, see :mod:`norms`.
    :param lenient: leave a state as it is that cannot be rewritten without a loss, and take no
        offence at a name in ``drop`` that no state has.
    :raises LossError: the releases have no place for what a state holds.
    :raises CheckpointError: a state cannot be decoded, no state has a name in ``drop``, or two
        would get one key.
    """
    dropped = dropping.Named(drop)
    edits = []
    for state, kind in kinds.classify(contents):
        is_dropped = dropped.has(state, _is_named_attention(state, kind, form))
        edits.append(_edit(state, kind, form, is_dropped, lenient))
    if not lenient:
        dropped.check(contents.states)
    edits += [Edit(s, s.key, b"", (Step.ADD_KEY,)) for s in adding.added(contents, norms)]
    _refuse_one_key_twice(edits)
    return edits


def _refuse_one_key_twice(edits: Iterable[Edit]) -> None:
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


def _edit(state: ExtraState, kind: Kind, form: Form, drop: bool, lenient: bool) -> Edit:
    try:
        return _rewritten(state, kind, form, drop)
    except CheckpointError:
        if not lenient:
            raise
        return Edit(state, state.key, None, ())


def _rewritten(state: ExtraState, kind: Kind, form: Form, drop: bool) -> Edit:
    if state.problem and not drop:
        raise CheckpointError(
            f"the extra state {state.key} cannot be decoded: {state.problem}",
            why="it is not one that Transformer Engine writes, or the file is damaged",
            do=dropping.ADVICE,
        )
    if not (drop or form.operations):
        _refuse_ambiguous(state, kind, form)
    new_key = _key(state, kind, form)
    if new_key is None:
        return _without_key(state, form, drop)
    moved = () if new_key == state.key else (_MOVES[form.attention_key],)
    if drop and (state.problem or state.tensors):
        return Edit(state, new_key, _nothing(form), (*moved, Step.DROP_STATE))
    if not state.fields:
        payload, steps = _without_state(state, kind, form)
    elif not state.tensors:
        payload, steps = _with_recipe_only(state, kind, form, drop)
    elif state.operation:
        payload, steps = _of_operation(state, form)
    else:
        payload, steps = _with_metadata(state, kind, form)
    return Edit(state, new_key, payload, (*moved, *steps))


# Keys.


def _key(state: ExtraState, kind: Kind, form: Form) -> str | None:
    """Return the key of a state in a form, or None where releases that read it have no such key."""
    if kind.modules and all(map(_is_operation, kind.modules)):
        return state.key if form.operations else None
    if not _is_attention(state, kind):
        return state.key
    return None if form.attention_key == "none" else attention_key(state.key, form)


def _is_attention(state: ExtraState, kind: Kind) -> bool:
    """Return whether a state is that of attention.

    Nothing but its scales may tell. ``GroupedLinear`` of three matrices has as many, but does not
    exist in the releases that keep the state of attention elsewhere, or none: it came in 1.9.
    """
    return (
        state.attention
        or kind.modules == {ATTENTION}
        or (ATTENTION in kind.modules and kind.traits.slots == _SLOTS)
    )


def _is_named_attention(state: ExtraState, kind: Kind, form: Form) -> bool:
    """Return whether a state is one that its user can only mean by ``attention``.

    Where the releases have ``GroupedLinear``, scales alone do not tell.
    """
    certain = state.attention or kind.modules == {ATTENTION}
    return certain or (form.attention_key != "core" and _is_attention(state, kind))


def _refuse_ambiguous(state: ExtraState, kind: Kind, form: Form) -> None:
    """Refuse an empty state of which it cannot be told whether a norm's or a linear layer's it is.

    From 2.4 on both can be an empty tensor; releases up to 1.12 expect one of linear layers alone.
    """
    norms = set(filter(_is_operation, kind.modules))
    if state.container is StateContainer.EMPTY_TENSOR and norms and norms != kind.modules:
        raise CheckpointError(
            f"it cannot be told whether {state.key} is the state of a norm",
            why=f"{form.read_by} expect none of norms, and the weights are not beside it",
            do="Rewrite a checkpoint with the weights of each module beside its state",
        )


def _is_operation(module: str) -> bool:
    return module in ("LayerNorm", "RMSNorm") or module.startswith(features.OPERATIONS)


def attention_key(key: str, form: Form) -> str:
    """Return the key of the state of attention in a form.

    Names that wrappers add stay where they are, except for those around a module that the form
    does not have.
    """
    match = KEY.search(key)
    assert match is not None
    parts, rest = key[: match.start()].split("."), key[match.start() :].removeprefix(".")
    # The place after the module's own name, which wrappers may follow.
    end = len(parts) - next((n for n, p in enumerate(reversed(parts)) if p not in WRAPPERS), 0)
    is_fused = parts[end - 1] == FUSED_ATTENTION
    if form.attention_key == "core" and is_fused:
        parts = parts[: end - 1]
    elif form.attention_key == "fused" and not is_fused:
        parts = [*filter(None, parts), FUSED_ATTENTION]
    else:
        return key
    return ".".join((*parts, rest))


def _without_key(state: ExtraState, form: Form, drop: bool) -> Edit:
    """Return the edit that removes a state whose key the release does not expect.

    :raises LossError: it holds something, and is not to be dropped.
    """
    if state.holds is Holds.NOTHING:
        return Edit(state, None, None, (Step.DROP_KEY,))
    if not drop and state.holds is not Holds.DEFAULTS:
        raise LossError(
            f"{state.key} holds FP8 metadata, for which {form.read_by} have no place",
            why="the module has no FP8 state in these releases, or does not exist",
            do=dropping.ADVICE,
        )
    return Edit(state, None, None, (Step.DROP_STATE,))


# Values.

_Change = tuple[bytes | None, tuple[Step, ...]]
"""The new payload, None where the value stays, and the steps that lead to it."""


def _nothing(form: Form) -> bytes:
    return _PICKLED_NONE if form.nothing == "pickled None" else b""


def _without_state(state: ExtraState, kind: Kind, form: Form) -> _Change:
    if state.cast or not isinstance(state.container, StateContainer):
        return _nothing(form), (Step.UNDO_CAST,)
    if kind.modules and all(map(_is_operation, kind.modules)):
        # Releases that have such states read nothing in each of the ways in which it is saved.
        return None, ()
    if form.nothing == "empty tensor" and state.container != StateContainer.EMPTY_TENSOR:
        return b"", (Step.EMPTY_NOTHING,)
    if form.nothing == "pickled None" and state.container in _SHORT_NOTHING:
        return _PICKLED_NONE, (Step.SPELL_OUT_NOTHING,)
    return None, ()


def _with_recipe_only(state: ExtraState, kind: Kind, form: Form, drop: bool) -> _Change:
    if form.has_recipe(kind.traits.recipe or "") and not (state.cast or drop):
        return None, ()
    return _nothing(form), (Step.DROP_RECIPE,)


def _of_operation(state: ExtraState, form: Form) -> _Change:
    steps = [Step.UNDO_CAST] if state.cast else []
    if form.recipe and operations.is_old(state):
        steps.append(Step.MERGE_MODES)
    if not form.recipe and not operations.is_old(state):
        steps.append(Step.SPLIT_MODES)
    return (encode(state, form) if steps else None), tuple(steps)


def _with_metadata(state: ExtraState, kind: Kind, form: Form) -> _Change:
    fields = state.fields or {}
    if LOCAL_RECIPES in state.extra and kind.traits.slots != _SLOTS:
        return _under_another_recipe(state, form)
    steps = [Step.UNDO_CAST] if state.cast else []
    if REGISTRATION in state.extra:
        steps.append(Step.DROP_REGISTRATION)
    if form.scale_inv and "scale_fwd" in state.tensors and "scale_inv_fwd" not in state.tensors:
        steps.append(Step.ADD_SCALE_INV)
    if form.recipe and "recipe" not in fields:
        steps.append(Step.ADD_RECIPE)
    elif form.recipe and _stated_history(state) != kind.traits.history:
        steps.append(Step.SET_HISTORY)
    if form.global_state and "global_fp8_buffer" not in fields:
        steps.append(Step.ADD_GLOBAL_STATE)
    return (encode(state, form) if steps else None), tuple(steps)


def _stated_history(state: ExtraState) -> object:
    return objects.attributes(state.recipe).get("amax_history_len")


def _under_another_recipe(state: ExtraState, form: Form) -> _Change:
    """Return the edit of attention trained under a recipe that leaves it fewer slots."""
    if form.nothing == "empty tensor":  # the form of the releases that save such states
        return None, ()
    raise LossError(
        f"{state.key} holds metadata of attention under a recipe of its own",
        why=f"{form.read_by} have no such attention",
        do=dropping.ADVICE,
    )
