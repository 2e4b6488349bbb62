"""Members of Transformer Engine's enumerations, as pickles of each release write them.

A number alone does not tell a member: ``DType(7)`` is E5M2 up to 2.3 and E4M3 from 2.4 on, in
pickles that are otherwise equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import NamedTuple

from matrix.catalogue import weights as table
from matrix.catalogue.ranges import covers
from matrix.catalogue.weights import Enumeration
from matrix.checkpoint import objects
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Call, Global, Node

E4M3, E5M2, E2M1 = "kFloat8E4M3", "kFloat8E5M2", "kFloat4E2M1"
_USUAL = E4M3
"""What weights are where the number may be either. Every recipe that quantizes weights refuses
``Format.E5M2`` (``__post_init__`` of the recipes in ``common/recipe/__init__.py``), so E5M2
weights can only have been made with a quantizer by hand."""


@dataclasses.dataclass(frozen=True)
class Written:
    """A member as it is pickled, before its name is known."""

    name: str
    """Full name of the enumeration."""
    how: str
    """``state``, ``call`` or ``attribute``; see ``weights.toml``."""
    number: int | str
    """Its number, or the member's name where the pickle gives that."""


def written(node: Node) -> Written | None:
    """Return what a value says if it is a member of an enumeration, or None."""
    match node:
        case Call("NEWOBJ", Global() as kind, (), state=[int() as number]):
            return Written(str(kind), "state", number)
        case Call("REDUCE", Global() as kind, (int() as number,)):
            return Written(str(kind), "call", number)
        # Python 3.11.0 to 3.11.3 pickle members by name.
        case Call("REDUCE", Global(), (Global() as kind, str() as member)):
            return Written(str(kind), "attribute", member)
    return None


class Member(NamedTuple):
    """A member of an enumeration, as far as its pickle tells it."""

    name: str
    releases: tuple[str, ...]
    """Closed ranges of the releases that pickle it in this way."""


class Numbering:
    """Tells members by their numbers, from all numbers that a checkpoint holds.

    :param savers: versions of the releases that can have saved it; empty: all.
    """

    def __init__(self, savers: Collection[str] = ()) -> None:
        self._savers = savers
        self._seen: dict[str, set[int]] = {}
        self._names = {row.name for row in table.load().enumerations}
        self._known: dict[tuple[str, Written | None, tuple[str, ...]], Member] = {}

    def note(self, node: Call) -> None:
        """Note the number of a value, if it is a member of an enumeration of weights."""
        found = written(node)
        if found is not None and found.name in self._names and isinstance(found.number, int):
            self._seen.setdefault(found.name, set()).add(found.number)

    def member(self, value: str, node: Node, releases: tuple[str, ...]) -> Member:
        """Return a member. All numbers must have been noted before.

        :param value: name of the argument that holds it.
        :param releases: closed ranges of the releases that pickle the weight in its form.
        :raises Malformed: it is no member that any of these releases has.
        """
        found = None if node is None else written(node)
        if node is not None and found is None:
            raise Malformed(f"its {value} is a {objects.describe(node)}, no enumeration's member")
        # A checkpoint holds a few members, and up to 100,000 weights.
        asked = value, found, releases
        if asked not in self._known:
            self._known[asked] = self._member(*asked)
        return self._known[asked]

    def _member(self, value: str, found: Written | None, releases: tuple[str, ...]) -> Member:
        rows = [row for row in table.load().enumerations if row.value == value]
        rows = [r for r in rows if any(table.overlap(r.releases, ranges) for ranges in releases)]
        if found is None:
            named = [(next(iter(row.members)), row) for row in rows if row.name is None]
        else:
            named = self._named([row for row in rows if row.name == found.name], found)
        names = sorted({name for name, _row in named})
        if not names:
            raise Malformed(f"its {value} is no member that a release pickles: {found}")
        name = _USUAL if _USUAL in names else names[0]
        return Member(name, tuple(row.releases for held, row in named if held == name))

    def _named(self, rows: Sequence[Enumeration], found: Written) -> list[tuple[str, Enumeration]]:
        """Return what a member can be called, and in which rows of the table."""
        if isinstance(found.number, str):
            return [(found.number, row) for row in rows if found.number in row.members]
        able = self._narrowed([row for row in rows if row.written == found.how])
        return [(n, row) for row in able for n, held in row.members.items() if held == found.number]

    def _narrowed(self, rows: Sequence[Enumeration]) -> Sequence[Enumeration]:
        """Return the rows that hold all numbers seen, of the releases that can have saved it."""
        able = [r for r in rows if self._seen.get(str(r.name), set()) <= set(r.members.values())]
        saved = [r for r in able if any(map(covers(r.releases), self._savers))]
        return saved or able


def encode(member: str, row: Enumeration) -> Node:
    """Return the value that a release pickles for a member.

    :raises Malformed: the release has no such member.
    """
    if member not in row.members:
        raise Malformed(f"{row.name or row.value} of {row.releases} has no {member}")
    if row.name is None:
        return None
    kind = Global(*row.name.rsplit(".", 1))
    number = row.members[member]
    if row.written == "call":
        return Call("REDUCE", kind, (number,))
    return Call("NEWOBJ", kind, (), state=[number])
