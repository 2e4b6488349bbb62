"""Sets of releases in the notation of the FAQ, e.g. ``>= 1.8, <= 1.14; 2.16.1``."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from packaging.version import Version

from matrix.catalogue import ranges


def notation(names: Collection[str], order: Sequence[str]) -> str:
    """Return releases as the FAQ writes versions.

    A range without a lower or upper end begins with the oldest or ends with the newest release
    of ``order``; the list says which ones those are.

    :param order: the names of all releases that the list is about, oldest first.
    """
    return "; ".join(_range(first, last, order) for first, last in ranges.runs(names, order))


def _range(first: str, last: str, order: Sequence[str]) -> str:
    start, end = order.index(first), order.index(last)
    if start == 0 and end < len(order) - 1:
        return f"<= {_end(end, order)}"
    if end == len(order) - 1 and start < end:
        return f">= {first}"
    if end - start > 1:
        return f">= {first}, <= {_end(end, order)}"
    return ", ".join(_end(place, order) for place in range(start, end + 1))


def _end(place: int, order: Sequence[str]) -> str:
    """Return the last release of a range; 2.16 as 2.16.0 where a patch release is not in it."""
    name = order[place]
    if place + 1 == len(order):
        return name
    this, following = (_numbers(one) for one in order[place : place + 2])
    return f"{name}.0" if following[: len(this)] == this != following else name


def _numbers(name: str) -> tuple[int, ...]:
    """Return the numbers of a release; the name of a candidate has its digest after an @."""
    return Version(name.partition("@")[0]).release
