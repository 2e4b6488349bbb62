"""Numbers of things as text."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return a number of things as text, e.g. ``1 cell``, ``2 cells`` or ``3 entries``.

    :param noun: what is counted, in the singular; its plural ends in ``s``, or in ``ies``
        for a ``y`` after a consonant.
    """
    if number == 1:
        return f"1 {noun}"
    in_ies = noun.endswith("y") and not noun.endswith(("ay", "ey", "oy", "uy"))
    return f"{number} {noun[:-1]}ies" if in_ies else f"{number} {noun}s"


def first_of(names: Sequence[str], most: int) -> str:
    """Return the first of some names as text, and how many more there are.

    :param most: how many are named.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
