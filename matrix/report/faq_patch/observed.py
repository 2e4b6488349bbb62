"""The loads of a report by kind of checkpoint and pair of releases, and what is said of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from matrix.catalogue import releases
from matrix.catalogue.releases import Release
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.report.faq_patch.claims import PLAIN, Claim, claim, reason

ALL, ATTENTION, QUANTIZED = "autocast", "attention-only", "fp8-weights"
"""The FAQ's scenarios: FP8 metadata in all modules, in the attention alone, quantized weights."""

Pair = tuple[str, str]
"""Saver and loader."""


@dataclasses.dataclass(frozen=True)
class Observed:
    """The loads of a report."""

    plain: Mapping[str, Mapping[Pair, ReportCell]]
    """The loads without any measure, by scenario and pair."""
    claims: Mapping[str, Mapping[Pair, Claim]]
    """What is to be said of the loads, by scenario and pair."""
    order: Sequence[str]
    """The names of the releases, oldest first."""

    def reasons(self, scenario: str, pairs: Sequence[Pair]) -> list[str]:
        """Return why loads without any measure failed, each reason once."""
        cells = (self.plain[scenario][pair] for pair in pairs)
        return list(dict.fromkeys(reason(cell) for cell in cells if cell.error_type))


def observed(report: Report, known: Mapping[str, Release]) -> Observed:
    """Return the loads of a report.

    :param report: a report on the FAQ's scenarios, in which every cell has an outcome.
    :param known: its releases by name.
    """
    cells: dict[str, dict[Pair, dict[str, ReportCell]]] = {}
    for cell in report.cells:
        pairs = cells.setdefault(cell.scenario, {})
        pairs.setdefault((cell.saved_by, cell.loaded_by), {})[cell.variant] = cell
    return Observed(
        {
            scenario: {pair: of[PLAIN] for pair, of in pairs.items()}
            for scenario, pairs in cells.items()
        },
        {
            scenario: {pair: claim(of, known[pair[1]].opt_in) for pair, of in pairs.items()}
            for scenario, pairs in cells.items()
        },
        releases.order(known),
    )
