"""From a selection to a plan, its evidence and its judgement: where every command starts."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from matrix.catalogue import faq, releases, scenarios, selection
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.selection import DEFAULTS, EVERYTHING, Selection
from matrix.catalogue.words import Lane, RunnerName
from matrix.judge import judge, ledger
from matrix.judge.judgement import Judgement
from matrix.judge.ledger import LedgerEntry
from matrix.lane import sources
from matrix.lane.containers.lock import BaseImage
from matrix.plan.cells import Plan, plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.store import Store
from matrix.workflow import containers, local_gpu

SIZES = {Lane.GPU: "device"}
"""The size of scenarios.toml that a lane uses unless one is asked for."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What the selection options of a command line ask for.

    :param candidate_as: which of a candidate's cells are planned: ``loader``, ``saver`` or
        ``both``; None for the command's default.
    :param ledger_file: ledger entries to judge by beside the packaged ones.
    """

    selection: Selection
    candidate_as: str | None = None
    ledger_file: Path | None = None

    def replace(self, **options: RunnerName | str | tuple[str, ...] | None) -> Self:
        """Return the request with other values for options of its selection."""
        return dataclasses.replace(self, selection=self.selection.model_copy(update=options))

    def with_candidate_as(self, default: str) -> Self:
        """Return the request with a default for ``candidate_as``."""
        return dataclasses.replace(self, candidate_as=self.candidate_as or default)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selected:
    """A plan, with all that measuring and judging it need.

    :param selection: what was selected, with the releases that are installed for this
        interpreter spelled out.
    :param bases: the images that containers are built on.
    :param store: where live evidence is, if anywhere.
    :param live_only: whether recorded evidence is left out.
    """

    selection: Selection
    documentation: Documentation
    entries: tuple[LedgerEntry, ...]
    plan: Plan
    bases: tuple[BaseImage, ...]
    store: Store | None
    live_only: bool = False

    @functools.cached_property
    def evidence(self) -> EvidenceIndex:
        """The evidence on the plan, read once; a run adds what it measures."""
        archive = None if self.live_only else recorded.evidence(self.plan.lane)
        return EvidenceIndex(self.plan, self.store, archive)

    @property
    def on_local_gpu(self) -> bool:
        """Whether the release that is installed for this interpreter runs, on its GPU."""
        return (self.plan.lane, self.plan.runner) == local_gpu.LOCAL_GPU

    def without_evidence(self) -> Self:
        """Return the same with no store, to be sent to other machines."""
        return dataclasses.replace(self, store=None)

    def judge(self, today: datetime.date) -> Judgement:
        """Judge the plan on its evidence.

        :param today: the date that ledger entries expire by.
        """
        return judge.judge(self.evidence, self.documentation, self.entries, today)


def select(
    request: Request,
    store: Store | None = None,
    *,
    resume: bool = False,
    defaults: Mapping[str, str] = DEFAULTS,
) -> Selected:
    """Turn a request into a plan.

    :param store: where evidence is; with what is installed for this interpreter it also
        says which releases have saved.
    :param resume: take up the selection of the store's last run where none is given.
    :param defaults: what is selected where an option is left out.
    :raises MatrixError: the request cannot be planned here.
    """
    chosen = _spelled_out(request.selection, store, resume, defaults)
    documentation = faq.load()
    known, bases = _catalogue(chosen)
    plan = _plan(chosen, request.candidate_as, known, documentation, defaults)
    return Selected(
        selection=chosen,
        documentation=documentation,
        entries=ledger.load(extra=request.ledger_file),
        plan=plan,
        bases=bases,
        store=store,
    )


def _spelled_out(
    given: Selection, store: Store | None, resume: bool, defaults: Mapping[str, str]
) -> Selection:
    """Return the selection to plan: as given, or as the store and this environment complete it."""
    if resume and store and given == Selection():
        given = store.remembered() or given
    if lane_and_runner(given) != local_gpu.LOCAL_GPU or (given.saved_by and given.loaded_by):
        return given
    everything = defaults["releases"] == EVERYTHING["releases"]
    return local_gpu.spelled_out(given, store, everything=everything)


def _plan(
    chosen: Selection,
    candidate_as: str | None,
    known: Catalogue,
    documentation: Documentation,
    defaults: Mapping[str, str],
) -> Plan:
    lane, runner = lane_and_runner(chosen)
    savers, loaders = (
        selection.releases(
            known,
            documentation,
            text or chosen.releases or defaults["releases"],
            with_candidates=(lane, runner) != local_gpu.LOCAL_GPU,
        )
        for text in (chosen.saved_by, chosen.loaded_by)
    )
    sized = scenarios.load(chosen.scenario_file, chosen.size or SIZES.get(lane))
    variants = scenarios.variants()
    scenario_names = selection.names("scenario", sized, chosen.scenario or defaults["scenario"])
    variant_names = selection.names("variant", variants, chosen.variant or defaults["variant"])
    return plan_cells(
        documentation,
        {name: sized[name] for name in scenario_names},
        {name: variants[name] for name in variant_names},
        savers,
        loaders,
        candidate_as=candidate_as or "both",
        lane=lane,
        runner=runner,
        whole=list(known.releases) == savers == loaders
        and scenario_names == list(sized)
        and variant_names == list(variants),
    )


def lane_and_runner(chosen: Selection) -> tuple[Lane, RunnerName]:
    """Return the lane and the runner that a selection means."""
    runner = chosen.runner or RunnerName.LOCAL
    in_docker = runner == RunnerName.DOCKER
    return chosen.lane or (Lane.GPU if in_docker else Lane.CPU), runner


def _catalogue(chosen: Selection) -> tuple[Catalogue, tuple[BaseImage, ...]]:
    """Return the catalogue with its candidates, and the bases that containers are built on."""
    lane, runner = lane_and_runner(chosen)
    if (lane, runner) == local_gpu.LOCAL_GPU:
        return local_gpu.catalogue(chosen.candidate), ()
    known = releases.load()
    if runner == RunnerName.LOCAL:
        for text in chosen.candidate:
            known = known.with_candidate(sources.candidate(Path(text)))
        return known, ()
    bases = containers.bases(chosen.images_lock, chosen.base)
    for text in chosen.candidate:
        candidate, own = containers.candidate(text)
        known, bases = known.with_candidate(candidate), (*own, *bases)
    return containers.identified(known, bases, lane), bases
