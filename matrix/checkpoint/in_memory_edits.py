"""Edits of extra states applied to a state dict in memory.

Only what changes is made anew: the mappings that hold edited states, and what these lie in, each as
an object of the same class. Everything else, weights above all, is the very same object.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from matrix.catalogue.state_keys import EXTRA_STATE
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.in_memory import InMemory, attributes_of, is_sharded, is_tensor
from matrix.system.collector import gc_paused

_Items = list[tuple[Any, Any]]


@gc_paused()
def apply(memory: InMemory, edits: Iterable[Edit]) -> Any:
    """Return a state dict with edits applied; the one that was read stays as it is.

    :raises CheckpointError: a container cannot be made anew, or there is no PyTorch.
    """
    by_place: dict[str, dict[str, Edit]] = {}
    for edit in edits:
        by_place.setdefault(edit.state.inside, {})[edit.state.key] = edit
    places = {
        id(mapping): by_place[inside] for inside, mapping in memory.places() if inside in by_place
    }
    return _Rebuilder(places, _reaching(memory.root, places)).rebuilt(memory.root)


def _reaching(root: Any, places: Collection[int]) -> set[int]:
    """Return the ids of the objects that one of some mappings lies in, and of these mappings."""
    within: dict[int, list[int]] = {}
    seen: dict[int, Any] = {id(root): root}
    left = [root]
    while left:
        value = left.pop()
        for child in _children(value):
            within.setdefault(id(child), []).append(id(value))
            if id(child) not in seen:
                seen[id(child)] = child
                left.append(child)
    found, above = set(), [place for place in places if place in seen]
    while above:
        place = above.pop()
        if place not in found:
            found.add(place)
            above += within.get(place, ())
    return found


def _children(value: Any) -> Iterable[Any]:
    if is_tensor(value) or is_sharded(value):
        return ()
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else attributes_of(value).values()


class _Rebuilder:
    """Makes containers anew around what changes.

    :param places: the edits of each mapping by its id.
    :param reaching: the ids of the objects to make anew.
    """

    def __init__(
        self,
        places: Mapping[int, Mapping[str, Edit]],
        reaching: Collection[int],
    ) -> None:
        self._places = places
        self._reaching = reaching
        self._made: dict[int, Any] = {}

    def rebuilt(self, value: Any) -> Any:
        """Return an object with the edits in it applied; the same object if there are none."""
        if id(value) not in self._reaching:
            return value
        if id(value) in self._made:
            return self._made[id(value)]
        if isinstance(value, tuple):
            items = map(self.rebuilt, value)
            made = type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
            return self._made.setdefault(id(value), made)
        # Kept before it is filled: what is in it may refer to it.
        new = self._made[id(value)] = _copied(value)
        if isinstance(value, list):
            new[:] = map(self.rebuilt, value)
        elif isinstance(value, Mapping):
            _fill(new, self._items(value, list(value.items())))
        else:
            _fill(new.__dict__, self._items(value, list(attributes_of(value).items())))
        return new

    def _items(self, owner: Any, items: _Items) -> _Items:
        """Return the items of a mapping after its edits."""
        edits = self._places.get(id(owner), {})
        made = []
        for key, value in items:
            edit = edits.get(key) if isinstance(key, str) else None
            if edit is None:
                made.append((key, self.rebuilt(value)))
            elif edit.new_key is not None:
                made.append((edit.new_key, _value(value, edit)))
        names = {name for name, _item in items}
        for key, edit in edits.items():
            # A state that the checkpoint lacks is added beside the weight of its module.
            if key not in names and key.replace(EXTRA_STATE, "weight") in names:
                made.append((edit.new_key, _byte_tensor(edit.payload or b"", None)))
        return made


def _value(old: Any, edit: Edit) -> Any:
    """Return the value of a state after its edit."""
    if is_sharded(old):
        new = copy.copy(old)
        new.data, new.key = _value(old.data, edit), _renamed(old.key, edit)
        return new
    if edit.payload is None:
        return old
    if edit.state.in_list and isinstance(old, list):
        return [_byte_tensor(edit.payload, old[0])]
    return _byte_tensor(edit.payload, old)


def _renamed(key: str, edit: Edit) -> str:
    """Return the key in a wrapper, which ends as that in the state dict does, after an edit."""
    shared = len(os.path.commonprefix([edit.state.key, edit.new_key or ""]))
    tail, new = edit.state.key[shared:], (edit.new_key or "")[shared:]
    return key.removesuffix(tail) + new if tail and key.endswith(tail) else key


def _copied(value: Any) -> Any:
    """Return a shallow copy, with the attributes of the original.

    A state dict of PyTorch's is an ``OrderedDict`` with an attribute ``_metadata``.
    """
    try:
        return copy.copy(value)
    except (TypeError, AttributeError) as error:
        raise _not_made(value, error) from error


def _fill(mapping: Any, items: _Items) -> None:
    try:
        mapping.clear()
        mapping.update(items)
    except (TypeError, AttributeError) as error:
        raise _not_made(mapping, error) from error


def _not_made(value: Any, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"a {type(value).__qualname__} in the state dict cannot be made anew: {error}",
        do="Pass the dict that is in it",
    )


def _byte_tensor(payload: bytes, old: Any) -> Any:
    """Return a byte tensor, on the device of the value that it replaces.

    PyTorch is imported here, for the first time where a state dict holds nothing of its.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise CheckpointError(
            "rewritten states are tensors, and PyTorch is not installed",
            do="Install it, or rewrite the file with te-matrix remap",
        ) from error
    made = torch.empty(len(payload), dtype=torch.uint8)
    if payload:
        made.copy_(torch.frombuffer(bytearray(payload), dtype=torch.uint8))
    return made.to(old.device) if is_tensor(old) else made
