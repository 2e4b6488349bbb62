"""A pickle as a tree of inert values: names in place of classes, calls in place of results.

Plain values stand for themselves. A dict is a :class:`Map`, because its keys may be
unhashable. An object that the pickle shares, the tree shares.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

# str, bytes, int, float, bool, None, tuple, list, or one of the classes below.
Node = Any


@dataclasses.dataclass(slots=True, eq=False)
class Global:
    """The name of a class or function, which is never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(slots=True, eq=False)
class Guarded(Global):
    """The name of a function that is harmless in some calls only.

    A pickle that does anything else with it, such as passing it on, may do harm. So each time
    that it is put on the stack must be matched by such a call.
    """

    pushed: int = 0
    """How many times it was put on the stack."""
    excused: int = 0
    """How many of those were for a harmless call."""


@dataclasses.dataclass(slots=True, eq=False)
class Map:
    """A dict: its pairs in order, of which later ones override earlier ones."""

    pairs: list[tuple[Node, Node]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, eq=False)
class Elements:
    """A set or frozenset."""

    kind: str
    items: list[Node]


@dataclasses.dataclass(slots=True, eq=False)
class Persistent:
    """An object outside the pickle, by its persistent id; in PyTorch's files a storage."""

    id: Node


class _Nothing(list[Any]):
    """The empty list that calls share to which nothing was added; nothing can be added to it."""

    def append(self, _item: Any) -> None:
        raise TypeError("this list is shared")

    extend = append


NOTHING: list[Any] = _Nothing()
"""Two calls per tensor without lists of their own save 100 MB in a large checkpoint."""


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """An object that unpickling would create by a call."""

    how: str
    """``REDUCE`` for a call of ``function``, ``NEWOBJ`` for one of its ``__new__``."""
    function: Node
    arguments: Node
    keywords: Node = None
    state: list[Node] = dataclasses.field(default_factory=list)
    """What ``BUILD`` would set on the object, one entry per ``BUILD``."""
    items: list[Node] = dataclasses.field(default_factory=list)
    """What would be appended to it."""
    pairs: list[tuple[Node, Node]] = dataclasses.field(default_factory=list)
    """What would be set in it, as in a dict."""

    def calls(self, *names: str) -> bool:
        """Return whether it calls a function or class of one of these full names."""
        return isinstance(self.function, Global) and str(self.function) in names


def children(node: Node) -> Iterator[Node]:
    """Yield the values that a value directly contains."""
    match node:
        case tuple() | list():
            yield from node
        case Map(pairs):
            for pair in pairs:
                yield from pair
        case Elements(_, items):
            yield from items
        case Persistent(id):
            yield id
        case Call(function=function, arguments=arguments, keywords=keywords):
            yield from (function, arguments, keywords, *node.state, *node.items)
            for pair in node.pairs:
                yield from pair


def every(root: Node) -> Iterator[Node]:
    """Yield a value and all values in it, each object once, in the order of the pickle."""
    seen: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if isinstance(node, (tuple, list, Map, Elements, Persistent, Call, Global)):
            if id(node) in seen:
                continue
            seen.add(id(node))
            left.extend(reversed(list(children(node))))
        yield node


def same(left: Node, right: Node) -> bool:
    """Return whether two trees hold equal values, and the same objects are shared in them."""
    matched: dict[int, int] = {}
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if type(one) is not type(other):
            return False
        if not isinstance(one, (tuple, list, Map, Elements, Persistent, Call, Global)):
            if one != other and not _both_nan(one, other):
                return False
            continue
        if one == ():
            if other != ():
                return False
            continue
        if id(other) in matched:
            if matched[id(other)] != id(one):
                return False
            continue
        matched[id(other)] = id(one)
        below = list(children(one)), list(children(other))
        if len(below[0]) != len(below[1]) or _label(one) != _label(other):
            return False
        pairs.extend(zip(*below, strict=True))
    return True


def _both_nan(one: Node, other: Node) -> bool:
    return isinstance(one, float) and math.isnan(one) and math.isnan(other)


def _label(node: Node) -> Any:
    match node:
        case Global():
            return str(node)
        case Call():
            return node.how, len(node.items), len(node.pairs), len(node.state)
        case Elements():
            return node.kind
    return None
