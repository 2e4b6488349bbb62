"""Objects that take most of what they say from an object that many of them share.

Of a hundred thousand cells a few thousand differ in more than their place. What cells have in
common is made once, and read as their own.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable


def read_through(owner: type, attribute: str, names: Iterable[str]) -> None:
    """Make a class read names from an object that its instances have.

    :param owner: the class.
    :param attribute: the attribute of its instances that holds the object.
    :param names: the names, of attributes and of properties.
    """
    for name in names:
        setattr(owner, name, property(operator.attrgetter(f"{attribute}.{name}")))
