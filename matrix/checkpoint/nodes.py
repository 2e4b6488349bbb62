"""What a pickle says, as inert values: names instead of things, calls instead of results.

Plain values are themselves; a dict is a :class:`Map`, for its keys may be anything. What is
one object in the pickle is one object in the tree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

# str, bytes, int, float, bool, None, tuple, list, or one of the classes below.
Node = Any


@dataclasses.dataclass(slots=True, eq=False)
class Global:
    """A class or function by its name; never the thing itself."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(slots=True, eq=False)
class Map:
    """A dict: pairs in order, later ones overriding."""

    pairs: list[tuple[Node, Node]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, eq=False)
class Elements:
    """A set or frozenset."""

    kind: str
    items: list[Node]


@dataclasses.dataclass(slots=True, eq=False)
class Persistent:
    """An object that the pickle leaves to its reader, by id; for PyTorch a storage."""

    id: Node


@dataclasses.dataclass(slots=True, eq=False)
class Call:
    """An object that unpickling would make by calling something.

    :param how: ``REDUCE``, or ``NEWOBJ`` (``cls.__new__``).
    :param state: what ``BUILD`` would set on it; one entry per ``BUILD``.
    :param items: what is appended to it; ``pairs``: what is set in it.
    """

    how: str
    function: Node
    arguments: Node
    keywords: Node = None
    state: list[Node] = dataclasses.field(default_factory=list)
    items: list[Node] = dataclasses.field(default_factory=list)
    pairs: list[tuple[Node, Node]] = dataclasses.field(default_factory=list)

    def calls(self, *names: str) -> bool:
        """Return whether it calls a function or class of one of these full names."""
        return isinstance(self.function, Global) and str(self.function) in names


def children(node: Node) -> Iterator[Node]:
    """Yield what a value is made of, one level down."""
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
    """Yield a value and all that is in it, each object once, in the order of the pickle."""
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
    """Tell whether two trees hold the same values, and share objects where ``right`` does."""
    matched: dict[int, int] = {}
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if type(one) is not type(other):
            return False
        if not isinstance(one, (tuple, list, Map, Elements, Persistent, Call, Global)):
            # Their representations, for a NaN equals nothing.
            if one != other and repr(one) != repr(other):
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


def _label(node: Node) -> Any:
    match node:
        case Global():
            return str(node)
        case Call():
            return node.how, len(node.items), len(node.pairs), len(node.state)
        case Elements():
            return node.kind
    return None
