"""Edits that rewrite extra states from the form that one release saves to one that another reads.

A rewrite consists of named steps. Each is applied to the modules that need it:

``map-key``            the attention's state moves from ``core_attention.fused_attention`` to
                       ``core_attention``: the FAQ's key mapping
``unmap-key``          the reverse
``drop-registration``  removes ``buffer_index_and_autocast_key``, which 1.6 and 1.7 save: it
                       belongs to the saving process, and a loader that finds it never
                       registers the module, so that its scales are never updated again
``add-scale-inv``      adds ``scale_inv`` = 1 / ``scale``, which 1.x requires and 2.x does not
                       save; removes the recipe, which 1.x does not know
``add-recipe``         adds a ``DelayedScaling`` with the state's own history length, which 2.0
                       to 2.3 require and 1.x does not save; removes ``scale_inv``
``spell-out-nothing``  a module without FP8 state is saved as a pickled ``None``
``empty-nothing``      a module without FP8 state is saved as an empty tensor
``drop-state``         removes the FP8 state; only on request
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from matrix.catalogue.forms import Form
from matrix.catalogue.state_keys import CORE_ATTENTION, WRAPPERS
from matrix.checkpoint import emit
from matrix.checkpoint.encoding import PROTOCOL, encode
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.states import (
    FUSED_ATTENTION,
    KEY,
    REGISTRATION,
    ExtraState,
    is_attention,
)
from matrix.checkpoint.words import Holds, StateContainer, Step

_MOVES = {"core": Step.MAP_KEY, "fused": Step.UNMAP_KEY}
_SHORT_NOTHING = (StateContainer.EMPTY_TENSOR, StateContainer.NONE)
_PICKLED_NONE = emit.emit(None, PROTOCOL)


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


def plan(states: Iterable[ExtraState], form: Form, *, drop: bool = False) -> list[Edit]:
    """Return the edit of each extra state that rewrites a checkpoint into a form.

    :param drop: remove the FP8 state instead of rewriting it.
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
    new_key = key_in_form(state.key, form)
    if state.problem and not drop:
        raise CheckpointError(
            f"the extra state {state.key} cannot be decoded: {state.problem}",
            why="it is not one that Transformer Engine writes, or the file is damaged",
            do="--drop-fp8-state gives all FP8 states up, if that is acceptable",
        )
    if new_key is None:
        return Edit(state, None, None, (Step.DROP_STATE,))
    steps = () if new_key == state.key else (_MOVES[form.attention_key],)
    if drop and state.holds is not Holds.NOTHING:
        return Edit(state, new_key, _nothing(form), (*steps, Step.DROP_STATE))
    if state.fields is None:
        payload, more = _without_state(state, form)
    else:
        payload, more = _with_state(state, form)
    return Edit(state, new_key, payload, (*steps, *more))


def key_in_form(key: str, form: Form) -> str | None:
    """Return the key of an extra state in a form, or None where the form has no such key.

    Names that wrappers add stay where they are, except for those around a module that the form
    does not have.
    """
    match = KEY.search(key)
    assert match is not None
    parts, rest = key[: match.start()].split("."), key[match.start() :].removeprefix(".")
    if form.attention_key == "none" and is_attention(key):
        return None
    # The place after the module's own name, which wrappers may follow.
    end = len(parts) - next((n for n, p in enumerate(reversed(parts)) if p not in WRAPPERS), 0)
    name = parts[end - 1]
    if form.attention_key == "core" and name == FUSED_ATTENTION:
        parts = parts[: end - 1]
    elif form.attention_key == "fused" and name == CORE_ATTENTION:
        parts = [*parts, FUSED_ATTENTION]
    else:
        return key
    return ".".join((*parts, rest))


def _nothing(form: Form) -> bytes:
    return _PICKLED_NONE if form.nothing == "pickled None" else b""


def _without_state(state: ExtraState, form: Form) -> tuple[bytes | None, tuple[Step, ...]]:
    if form.nothing == "empty tensor" and state.container != StateContainer.EMPTY_TENSOR:
        return b"", (Step.EMPTY_NOTHING,)
    if form.nothing == "pickled None" and state.container in _SHORT_NOTHING:
        return _PICKLED_NONE, (Step.SPELL_OUT_NOTHING,)
    return None, ()


def _with_state(state: ExtraState, form: Form) -> tuple[bytes | None, tuple[Step, ...]]:
    fields = state.fields or {}
    steps = []
    if REGISTRATION in state.extra:
        steps.append(Step.DROP_REGISTRATION)
    if form.scale_inv and "scale_fwd" in state.tensors and "scale_inv_fwd" not in state.tensors:
        steps.append(Step.ADD_SCALE_INV)
    if form.recipe and "recipe" not in fields:
        steps.append(Step.ADD_RECIPE)
    return (encode(state, form) if steps else None), tuple(steps)
