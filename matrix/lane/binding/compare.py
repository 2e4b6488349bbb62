"""The differences between a release's compiled extension and the stand-in for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from matrix.catalogue import tables
from matrix.catalogue.ranges import covers
from matrix.lane.binding.observation import Facts

EXPLAINED = Path(__file__).with_name("differences.toml")

ASPECTS = ("names", "enumerations", "pickles", "FP8TensorMeta", "signatures")
"""What is compared, in the order of the table."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One fact that differs."""

    aspect: str
    """One of :data:`ASPECTS`."""
    what: str
    """The fact, e.g. ``DType equals None``."""
    compiled: str
    """The fact of the compiled extension."""
    standin: str
    """The fact of the stand-in."""


class Explained(tables.Row):
    """A difference that is known, and why it does not matter."""

    releases: str
    """Closed ranges of releases."""
    aspect: str
    """One of :data:`ASPECTS`."""
    what: str
    """The fact that differs."""
    reason: str
    """Why no checkpoint can show it."""


class _Table(tables.Row):
    difference: tuple[Explained, ...] = ()


def explained() -> tuple[Explained, ...]:
    """Return the differences that are explained."""
    return tables.load(EXPLAINED, _Table).difference


def explanation(
    release: str, difference: Difference, table: Iterable[Explained]
) -> Explained | None:
    """Return the entry that explains a difference; None if there is none."""
    for entry in table:
        same = (entry.aspect, entry.what) == (difference.aspect, difference.what)
        if same and covers(entry.releases)(release):
            return entry
    return None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The comparison for one release."""

    release: str
    compared: Mapping[str, int]
    """Number of compared facts by aspect."""
    differences: tuple[Difference, ...]


def compare(release: str, compiled: Facts, standin: Facts, asked: Iterable[str]) -> Comparison:
    """Compare a compiled extension with the stand-in.

    :param asked: the names that the release's Python code asks for.
    """
    compared: dict[str, int] = {}
    differences: list[Difference] = []
    for aspect in ASPECTS:
        one, other = (dict(_facts(aspect, facts, asked)) for facts in (compiled, standin))
        compared[aspect] = len({**one, **other})
        differences += _unequal(aspect, one, other)
    return Comparison(release, compared, tuple(differences))


def _unequal(aspect: str, one: dict[str, Any], other: dict[str, Any]) -> Iterator[Difference]:
    for what in {**one, **other}:
        here, there = str(one.get(what, "absent")), str(other.get(what, "absent"))
        if here != there:
            yield Difference(aspect, what, here, there)


def _facts(aspect: str, facts: Facts, asked: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield the facts of one aspect by name."""
    match aspect:
        case "names":
            yield from _names(facts, asked)
        case "enumerations":
            for name, told in facts.enumerations.items():
                yield from ((f"{name} {what}", fact) for what, fact in told.items())
        case "pickles":
            yield from _by_member("pickle of", facts.pickles)
            yield from _by_member("reads the other's", facts.reads)
        case "FP8TensorMeta":
            yield from facts.tensor_meta.items()
        case "signatures":
            yield from facts.functions.items()


def _names(facts: Facts, asked: Iterable[str]) -> Iterator[tuple[str, str]]:
    kinds = facts.kinds
    yield from ((name, kinds.get(name, "absent")) for name in sorted({*asked, *kinds}))
    yield from ((f"{name} by import *", "brought") for name in facts.star)
    yield from ((f"value of {name}", str(value)) for name, value in facts.constants.items())


def _by_member(what: str, held: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    for protocol, members in held.items():
        for name, text in members.items():
            yield f"{what} {name}, protocol {protocol}", text
