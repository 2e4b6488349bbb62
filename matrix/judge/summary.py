"""The FAQ's table of bands, counts of evidence, and the releases that could not take part."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

from matrix.catalogue.faq import Documentation
from matrix.catalogue.words import Absence, Verdict
from matrix.judge.judgement import ControlCheck, JudgedCell, Judgement
from matrix.system.counting import counted


@dataclasses.dataclass(frozen=True)
class BandCell:
    """One field of the table: all cells with a saver of one band and a loader of another."""

    documented: str
    """The documented outcome; several are joined by `` / ``."""
    observed: tuple[tuple[str, int], ...]
    """Outcomes and their numbers of cells, most frequent first."""
    deviating: int
    """Number of cells that deviate from the FAQ, with or without a ledger entry."""


@dataclasses.dataclass(frozen=True)
class BandTable:
    """The FAQ's table for one scenario and variant."""

    scenario: str
    """Name of the scenario."""
    variant: str
    """Name of the variant."""
    bands: tuple[str, ...]
    """Names of the bands, oldest first."""
    cells: dict[tuple[str, str], BandCell]
    """Fields by (band of the loader, band of the saver)."""


def band_tables(judgement: Judgement, documentation: Documentation) -> Iterator[BandTable]:
    """Yield the table of every scenario and variant that has cells."""
    bands = tuple(band.name for band in documentation.bands)
    band_of = {
        name: documentation.band(release).name for name, release in judgement.plan.releases.items()
    }
    groups: dict[tuple[str, str], dict[tuple[str, str], list[JudgedCell]]] = {}
    for verdict in judgement.verdicts:
        cell = verdict.cell
        fields = groups.setdefault((cell.scenario, cell.variant), {})
        fields.setdefault((band_of[cell.loaded_by], band_of[cell.saved_by]), []).append(verdict)
    for (scenario, variant), fields in groups.items():
        cells = {(to, by): _cell(fields.get((to, by), [])) for to in bands for by in bands}
        yield BandTable(scenario, variant, bands, cells)


def _cell(verdicts: list[JudgedCell]) -> BandCell:
    counted = Counter(verdict.seen for verdict in verdicts)
    documented = {verdict.documented.outcome.value for verdict in verdicts}
    deviating = sum(v.verdict.deviating for v in verdicts)
    return BandCell(" / ".join(sorted(documented)), tuple(counted.most_common()), deviating)


def live_counts(judgement: Judgement) -> dict[str, int]:
    """Return the number of cells with ``live`` and ``recorded`` evidence, and ``without``.

    Of a cell whose saver raised an exception, the save is the evidence.
    """
    present = [each for each in judgement.verdicts if not isinstance(each.outcome, Absence)]
    live = sum(verdict.live for verdict in present)
    absent = len(judgement.verdicts) - len(present)
    return {"live": live, "recorded": len(present) - live, "without": absent}


@dataclasses.dataclass(frozen=True)
class LackingRelease:
    """A release that could not be obtained or started, and what that leaves without outcome."""

    release: str
    """Name of the release."""
    verdict: Verdict
    """The verdict on the cells, e.g. ``infra``."""
    why: str
    """Why it could not, in one line."""
    cells: int
    """Number of cells that have no outcome for this reason."""
    controls: int
    """Number of controls that have no outcome for this reason."""

    @property
    def sentence(self) -> str:
        """The release's failure and its extent as one line of text."""
        cells, controls = counted(self.cells, "cell"), counted(self.controls, "control")
        extent = f"{cells} and {controls} without outcome"
        return f"{self.verdict.value}: {self.why.rstrip('.')}: {extent}"


def lacking_releases(judgement: Judgement) -> list[LackingRelease]:
    """Return the releases that could not take part, in the plan's order, each cause once."""
    cells = Counter(_lack(verdict) for verdict in judgement.verdicts if verdict.lacking)
    controls = Counter(_lack(check) for check in judgement.controls if check.lacking)
    order = list(judgement.plan.releases)
    return [
        LackingRelease(*lack, cells[lack], controls[lack])
        for lack in sorted(cells | controls, key=lambda lack: order.index(lack[0]))
    ]


def _lack(missing: JudgedCell | ControlCheck) -> tuple[str, Verdict, str]:
    return missing.lacking, missing.verdict, " ".join(missing.note.split())
