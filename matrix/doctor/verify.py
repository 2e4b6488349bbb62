"""A check of a rewritten checkpoint in the target release's own code, in the cpu lane.

The modules are those of the checkpoint as it was, the states those that were written: a key that
was dropped is missed where the release expects it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from matrix.catalogue.releases import Release
from matrix.checkpoint import states
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds, StateContainer, Step
from matrix.doctor import live
from matrix.doctor import places as asking
from matrix.doctor.live import LiveAnswer, LiveReleases
from matrix.doctor.places import Place, Places
from matrix.doctor.sightings import HISTORY, LoadStatus
from matrix.errors import MatrixError
from matrix.system.counting import counted


def verify(
    before: Contents,
    edits: Sequence[Edit],
    written: Mapping[int, ExtraState],
    release: Release,
    releases: LiveReleases,
) -> tuple[bool, str]:
    """Have a release load the extra states of a rewritten checkpoint, and step with them.

    :param before: the checkpoint as it was.
    :param written: what was written, by the ``id`` of its edit.
    :param releases: the cpu lane.
    :returns: whether every state could be tried, and the result as a sentence.
    :raises CheckpointError: the release does not load the states, or freezes or resets them.
    """
    places = rewritten(asking.places_of(before), edits, written)
    try:
        with releases:
            answer = releases.ask(release, places, release.opt_in)
    except CheckpointError:
        raise
    except MatrixError as error:
        return False, f"not tried: {error}"
    if answer.status not in (LoadStatus.LOADS, LoadStatus.UNKNOWN):
        raise CheckpointError(
            f"release {release.name} does not load the rewritten checkpoint: {answer.detail}",
            why="it is not like the ones that the rewrite was proven with",
            do="Nothing was written; report it with the output of te-matrix inspect --json",
        )
    tried = all(state.status == LoadStatus.LOADS for state in answer.states)
    return tried, _sentence(release, places, answer)


def rewritten(places: Places, edits: Sequence[Edit], written: Mapping[int, ExtraState]) -> Places:
    """Return the places with the states that were written for them.

    A norm that had no state and got none is left out: it need not be Transformer Engine's.
    """
    by_state = {id(edit.state): edit for edit in edits}
    added = {edit.new_key: edit for edit in edits if Step.ADD_KEY in edit.steps}
    found = []
    unasked = list(places.unasked)
    for place in places.places:
        edit = by_state.get(id(place.state)) if place.state else added.get(place.key)
        if edit is None:
            unasked.append(
                f"{place.path} may be a norm of Transformer Engine; if it is, 1.13 and later miss "
                "its extra state, which --add-norm-states adds"
            )
            continue
        found.append(dataclasses.replace(place, state=written.get(id(edit))))
    return Places(tuple(found), tuple(unasked))


def planned(edits: Iterable[Edit]) -> dict[int, ExtraState]:
    """Return what edits would write, by their ``id``, without anything being written."""
    return {id(edit): _after(edit) for edit in edits if edit.new_key is not None}


def _after(edit: Edit) -> ExtraState:
    moved = dataclasses.replace(edit.state, key=edit.new_key or edit.state.key)
    if edit.payload is None:
        return moved
    container = StateContainer.BYTE_TENSOR if edit.payload else StateContainer.EMPTY_TENSOR
    bare = ExtraState(moved.key, moved.file, container, inside=moved.inside)
    return states.of_content(bare, edit.payload, Budget()) if edit.payload else bare


def _sentence(release: Release, places: Places, answer: LiveAnswer) -> str:
    """Return what was seen, and what was not tried."""
    asked = {state.key: state for state in answer.states}
    loaded = [p for p in places.places if asked[p.key].status == LoadStatus.LOADS]
    holding = [place for place in loaded if _holds(place)]
    count = sum(place.alike for place in loaded)
    text = f"release {release.name} (lane cpu) strictly loaded {_states(count)}"
    if holding:
        names = Counter[str]()
        for place in holding:
            names[place.module] += place.alike
        kinds = ", ".join(f"{number} of {name}" for name, number in names.items())
        tested = all(live.UNTESTED not in asked[place.key].detail for place in holding)
        updated = " and updated by the next step" if tested else f" ({live.UNTESTED})"
        text += f", with the metadata bit-exact{updated}: {kinds}"
        if (history := asking.history_of(places)) not in (None, HISTORY):
            text += f" (under a recipe with amax_history_len = {history}, as they were saved)"
    else:
        text += ", which hold no metadata"
    if any(not asking.is_finite(place.state) for place in holding if place.state):
        text += "; where a value is not finite, as an overflow leaves it, no step was tried"
    if len(loaded) < count:
        text += f"; {len(loaded)} of them, which stand for those that are alike, were tried"
    unasked = [f"{s.key}: {s.detail}" for s in answer.states if s.status == LoadStatus.UNKNOWN]
    if left := [*unasked, *answer.unasked]:
        text += f"; not checked: {'; '.join(left)}"
    return text


def _states(count: int) -> str:
    return counted(count, "extra state")


def _holds(place: Place) -> bool:
    return place.state is not None and place.state.holds is Holds.METADATA
