"""Closed ranges of versions as text, e.g. ``1.6-1.7, 2.16.1``: read and written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from packaging.version import Version


@functools.cache
def covers(ranges: str) -> Callable[[str], bool]:
    """Return a function that returns whether a version lies in one of the ranges.

    :param ranges: closed ranges and single versions, joined by commas.
    :raises ValueError: a range is open, runs backwards or is not made of versions.
    """
    ends = _ends(ranges)

    @functools.cache
    def covered(version: str) -> bool:
        return any(first <= Version(version) <= last for first, last in ends)

    return covered


def common(one: str, other: str) -> str:
    """Return a version that lies in both sets of ranges, or an empty text.

    :raises ValueError: see :func:`covers`.
    """
    for low, high in _ends(one):
        for first, last in _ends(other):
            if max(low, first) <= min(high, last):
                return str(max(low, first))
    return ""


def _ends(ranges: str) -> list[tuple[Version, Version]]:
    ends = []
    for part in ranges.split(","):
        first, dash, last = part.strip().partition("-")
        if dash and not last:
            raise ValueError(f"{part.strip()!r} has no end")
        ends.append((Version(first), Version(last or first)))
    if any(first > last for first, last in ends):
        raise ValueError(f"{ranges!r} runs backwards")
    return ends


def runs(names: Collection[str], order: Sequence[str]) -> list[tuple[str, str]]:
    """Return (first, last) of every unbroken run of releases, oldest first.

    :param order: the names of all known releases, oldest first. A run ends before the first
        release of this order that is not among ``names``, so that a range never includes a
        release that was not named.
    """
    found: list[tuple[str, str]] = []
    last = -2
    for place, name in enumerate(order):
        if name not in names:
            continue
        found.append((found.pop()[0], name) if place == last + 1 else (name, name))
        last = place
    return found


def text(names: Collection[str], order: Sequence[str]) -> str:
    """Return releases as ranges, e.g. ``1.6-1.7, 2.16.1``; see :func:`runs`."""
    return ", ".join(
        first if first == last else f"{first}-{last}" for first, last in runs(names, order)
    )


def rectangles(
    pairs: Iterable[tuple[str, str]], order: Sequence[str]
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield (savers, loaders) whose products together are exactly the given pairs.

    Loaders with the same savers are in one product.

    :param pairs: (saver, loader).
    :param order: the names of all known releases, oldest first; the lists are in this order.
    """
    place = {name: number for number, name in enumerate(order)}
    savers: dict[str, set[str]] = {}
    for saver, loader in pairs:
        savers.setdefault(loader, set()).add(saver)
    shared: dict[tuple[str, ...], list[str]] = {}
    for loader in sorted(savers, key=place.__getitem__):
        row = tuple(sorted(savers[loader], key=place.__getitem__))
        shared.setdefault(row, []).append(loader)
    for row, loaders in shared.items():
        yield list(row), loaders


def described(pairs: Iterable[tuple[str, str]], order: Sequence[str]) -> str:
    """Return (saver, loader) pairs as text, e.g. ``1.6-1.7 -> 1.8; 1.7 -> 2.0-2.3``."""
    return "; ".join(
        f"{text(savers, order)} -> {text(loaders, order)}"
        for savers, loaders in rectangles(pairs, order)
    )
