"""The part of a plan that one run does: a phase, the releases of a band, a shard."""

from __future__ import annotations

import dataclasses

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.errors import UsageError, nearest
from matrix.plan import shards
from matrix.plan.cells import Plan
from matrix.plan.costs import Costs
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import ReleaseFilter, Scope, every_release
from matrix.plan.shards import Shard


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanPart:
    """The part of a plan that one run does; the whole plan if every field is None.

    :param phase: ``save`` or ``cross-load``.
    :param band: the band whose releases save and load.
    :param shard: ``K/N`` for the Kth of N parts of equal cost.
    """

    phase: str | None
    band: str | None
    shard: str | None

    @property
    def whole(self) -> bool:
        """Whether it is the whole plan. Only then is the run judged."""
        return not (self.phase or self.band or self.shard)

    def take_shard(self, plan: Plan, evidence: EvidenceIndex) -> Shard | None:
        """Return the shard, or None if the part is not a shard.

        :raises UsageError: there is no such shard, or it excludes the other fields.
        """
        if self.shard is None:
            return None
        number, count = shards.parse(self.shard)
        if self.band:
            raise UsageError("--shard and --band both say what part to do", do="Give one of them")
        if plan.lane == Lane.GPU and self.phase is None:
            raise UsageError(
                "--shard alone has every shard make the saves that it needs",
                why="training is not repeatable to the bit, so that two shards' saves would differ",
                do="Shard `--phase save`, merge, then shard `--phase cross-load` on what came of "
                "it",
            )
        return shards.split(plan, Costs(evidence), number, count, self.phase)

    def scope(
        self, documentation: Documentation, takes_part: ReleaseFilter, shard: Shard | None
    ) -> Scope:
        """Return the saves and loads of the part.

        :param takes_part: filter for the releases that can be run.
        :param shard: the result of :meth:`take_shard`.
        :raises UsageError: there is no such band.
        """
        in_band = band_filter(self.band, documentation)
        if shard:
            return shard.scope(self.phase)

        def wanted(release: Release, _scenario: str) -> bool:
            return in_band(release) and takes_part(release)

        return Scope(
            saves=self.phase != "cross-load",
            loads=self.phase != "save",
            saves_with=wanted,
            loads_with=wanted,
        )


def band_filter(band: str | None, documentation: Documentation) -> ReleaseFilter:
    """Return a filter for the releases of a band, or for all releases if it is None.

    :raises UsageError: there is no such band.
    """
    if band is None:
        return every_release
    bands = [known.name for known in documentation.bands]
    if band not in bands:
        raise UsageError(f"there is no band {band}", do=nearest(band, bands))
    return lambda release: documentation.band(release).name == band
