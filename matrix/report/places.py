"""Cells as lines of text: each scenario and variant with its savers and loaders as ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matrix.catalogue import ranges
from matrix.report.cells import ReportCell


def places(cells: Iterable[ReportCell], order: Sequence[str]) -> list[str]:
    """Return one line for each scenario and variant, e.g. ``autocast/plain: 1.6-1.7 -> 1.8``.

    :param order: the names of all known releases, oldest first.
    """
    pairs: dict[str, list[tuple[str, str]]] = {}
    for cell in cells:
        place = f"{cell.scenario}/{cell.variant}"
        pairs.setdefault(place, []).append((cell.saved_by, cell.loaded_by))
    return [f"{place}: {ranges.described(found, order)}" for place, found in pairs.items()]
