"""Cells as lines of text: scenarios and variants with their savers and loaders as ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matrix.catalogue import ranges
from matrix.report.cells import ReportCell


def places(cells: Iterable[ReportCell], order: Sequence[str]) -> list[str]:
    """Return one line for each set of pairs, e.g. ``autocast/plain: 1.6-1.7 -> 1.8``.

    Scenarios and variants that have the same pairs share a line, see :func:`together`.

    :param order: the names of all known releases, oldest first.
    """
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cell in cells:
        pairs.setdefault((cell.scenario, cell.variant), []).append((cell.saved_by, cell.loaded_by))
    same: dict[str, list[tuple[str, str]]] = {}
    for place, found in pairs.items():
        same.setdefault(ranges.described(found, order), []).append(place)
    return [f"{together(where)}: {described}" for described, where in same.items()]


def together(where: Iterable[tuple[str, str]]) -> str:
    """Return (scenario, variant) pairs as text, scenarios with the same variants together.

    One pair is ``autocast/plain``; more are ``autocast, attention-only / plain, trusted``.
    """
    variants: dict[str, list[str]] = {}
    for scenario, variant in where:
        variants.setdefault(scenario, []).append(variant)
    scenarios: dict[tuple[str, ...], list[str]] = {}
    for scenario, names in variants.items():
        scenarios.setdefault(tuple(names), []).append(scenario)
    return "; ".join(_product(names, of) for of, names in scenarios.items())


def _product(scenarios: Sequence[str], variants: Sequence[str]) -> str:
    slash = "/" if len(scenarios) == len(variants) == 1 else " / "
    return ", ".join(scenarios) + slash + ", ".join(variants)
