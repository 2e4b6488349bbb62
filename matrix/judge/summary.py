"""The FAQ's band table, documented against observed, and the totals."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

from matrix.catalogue.faq import Documentation
from matrix.judge.judgement import JudgedCell, Judgement


@dataclasses.dataclass(frozen=True)
class BandCell:
    """One cell of the band table: what the FAQ says, and what was seen how often."""

    documented: str
    observed: tuple[tuple[str, int], ...]
    deviating: int

    @property
    def text(self) -> str:
        """The observations as words and counts, most frequent first."""
        return ", ".join(f"{word} {count}" for word, count in self.observed) or "-"


@dataclasses.dataclass(frozen=True)
class BandTable:
    """The FAQ's table for one scenario and variant: loaders down, savers across."""

    scenario: str
    variant: str
    bands: tuple[str, ...]
    cells: dict[tuple[str, str], BandCell]
    """By (loaded_by, saved_by)."""


def band_tables(judgement: Judgement, documentation: Documentation) -> Iterator[BandTable]:
    """Yield one table for every scenario and variant that has cells."""
    groups: dict[tuple[str, str], list[JudgedCell]] = {}
    for verdict in judgement.verdicts:
        groups.setdefault((verdict.cell.scenario, verdict.cell.variant), []).append(verdict)
    bands = tuple(band.name for band in documentation.bands)
    band_of = {
        name: documentation.band(release).name for name, release in judgement.plan.releases.items()
    }
    for (scenario, variant), verdicts in groups.items():
        cells = {
            (loader, saver): _cell(
                [
                    verdict
                    for verdict in verdicts
                    if (band_of[verdict.cell.loaded_by], band_of[verdict.cell.saved_by])
                    == (loader, saver)
                ]
            )
            for loader in bands
            for saver in bands
        }
        yield BandTable(scenario, variant, bands, cells)


def _cell(verdicts: list[JudgedCell]) -> BandCell:
    counted = Counter(verdict.seen for verdict in verdicts)
    documented = {verdict.documented.outcome.value for verdict in verdicts}
    deviating = sum(v.verdict.deviating for v in verdicts)
    return BandCell(" / ".join(sorted(documented)), tuple(counted.most_common()), deviating)


def live_counts(judgement: Judgement) -> dict[str, int]:
    """Return how many cells are live, how many rest on recorded evidence, how many have none."""
    present = [verdict for verdict in judgement.verdicts if verdict.load is not None]
    live = sum(verdict.live for verdict in present)
    absent = len(judgement.verdicts) - len(present)
    return {"live": live, "recorded": len(present) - live, "without": absent}
