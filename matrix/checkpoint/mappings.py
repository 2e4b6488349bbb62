"""The mappings in a checkpoint's inert values, wherever they lie: any of them can be a state dict.

Frameworks keep state dicts below keys (``model``, ``state_dict``, ``module``, ``model0``), in
tuples and lists, in dicts of classes of their own, and in attributes of objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from matrix.catalogue.state_keys import EXTRA_STATE
from matrix.checkpoint import names, objects
from matrix.checkpoint.nodes import Call, Global, Map, Node

Pairs: TypeAlias = list[tuple[Node, Node]]
"""The items of a mapping, which the caller may change."""

_TENSORS = ("torch._utils", "torch.storage", "torch._tensor", "torch.nn.parameter")
"""Modules of PyTorch whose functions rebuild tensors: nothing but numbers is below them."""
_LABEL = 200
_SMALL = 1 << 63


def mappings(root: Node) -> Iterator[tuple[str, Pairs]]:
    """Yield every mapping in a value, each once, except for those inside tensors.

    :returns: a label for the place of the mapping, e.g. ``optimizer_states.0``, that no other
        mapping with extra states has, and its items. The attributes that a pickle sets on an
        object are a mapping too.
    """
    seen: set[int] = set()
    labels = _Labels()
    # Labels are made when they are needed: a wide file has a million places.
    left: list[tuple[str, Node, Node]] = [("", "", root)]
    while left:
        above, key, node = left.pop()
        if id(node) in seen or _opaque(node):
            continue
        seen.add(id(node))
        inside = _label(above, key)
        pairs = node.pairs if isinstance(node, Map) else _pairs(node)
        if pairs is not None:
            has_states = any(isinstance(name, str) and EXTRA_STATE in name for name, _v in pairs)
            yield (labels.unique(inside) if has_states else inside), pairs
        below = [(inside, name, value) for name, value in _children(node) if _holds(value)]
        left.extend(reversed(below))


def _label(above: str, key: Node) -> str:
    return f"{above}.{_text(key)}".lstrip(".")[:_LABEL] if key != "" else above


def _holds(value: Node) -> bool:
    """Return whether a value can hold others."""
    return isinstance(value, (Map, Call, list)) or (isinstance(value, tuple) and value != ())


def _pairs(node: Node) -> Pairs | None:
    """Return the items that are set in an object, such as an OrderedDict; None without any."""
    if isinstance(node, Call) and (node.pairs or objects.pairs_of(node) is not None):
        return node.pairs
    return None


def _opaque(node: Node) -> bool:
    """Return whether a value is a tensor, or a weight that Transformer Engine rebuilds."""
    if not isinstance(node, Call):
        return False
    function = node.function
    if isinstance(function, Global) and function.module in _TENSORS:
        return True
    return not node.state and names.te_class(node) is not None


def _children(node: Node) -> Iterator[tuple[Node, Node]]:
    match node:
        case list() | tuple():
            yield from enumerate(node)
        case Map(pairs):
            yield from pairs
        case Call():
            yield from node.pairs
            yield from enumerate(node.items)
            # State is a dict of attributes, or a pair of that and one of slots. Arguments are
            # the fields of a named tuple, say.
            for part in (*node.state, node.arguments, node.keywords):
                yield "", part


def _text(key: Node) -> str:
    """Return a key as part of a label; keys that have no short text all have the same."""
    if isinstance(key, str):
        return key[:_LABEL]
    if isinstance(key, int) and -_SMALL < key < _SMALL:
        return str(key)
    return "*"


class _Labels:
    """The labels that were given away."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._counts: dict[str, int] = {}

    def unique(self, label: str) -> str:
        """Return a label, with a number at its end if it was given away before."""
        made = label
        while made in self._given:
            self._counts[label] = self._counts.get(label, 1) + 1
            made = f"{label}#{self._counts[label]}"
        self._given.add(made)
        return made
