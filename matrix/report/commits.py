"""The commits that changed what releases do, as the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matrix.catalogue import changes, ranges
from matrix.catalogue.changes import Change

_OF_CHANGES = {"release", "after", "basis", "way", "commit", "subject", "pulls", "why"}
_OF_EFFECTS = {"role", "variant", "before", "now", "modules", "recipes"}


def rows(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the changes between releases as plain data, with the fields that the page shows.

    :param names: the catalogued releases of the report; ``partners`` lists those that a change
        concerns.
    :raises TableError: the table of changes has a mistake.
    """
    return [_row(change, names) for change in changes.load().change]


def _row(change: Change, names: Sequence[str]) -> dict[str, Any]:
    effects = [
        effect.model_dump(include=_OF_EFFECTS)
        | {"partners": list(filter(ranges.covers(effect.partners), names))}
        for effect in change.effect
    ]
    return change.model_dump(include=_OF_CHANGES, exclude_none=True) | {"effect": effects}
