"""Turns a request into a plan, with its evidence and its judgement."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from matrix.catalogue import faq, releases, scenarios, selection
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.scenarios import SizedScenario
from matrix.catalogue.selection import DEFAULTS, EVERYTHING, Selection
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import UsageError
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
"""The size in scenarios.toml that a lane uses by default; else each scenario has its own."""


@dataclasses.dataclass(frozen=True)
class Request:
    """The selection options of a command line.

    :param candidate_as: which cells of candidates are planned: those in which they are the
        ``loader``, the ``saver``, or ``both``; None for the default of the command.
    :param ledger_file: a file with ledger entries in addition to the packaged ones.
    :param git_url: the git repository of candidates that are refs; None for the default.
    """

    selection: Selection
    candidate_as: str | None = None
    ledger_file: Path | None = None
    git_url: str | None = None

    def replace(self, **options: Lane | RunnerName | str | tuple[str, ...] | None) -> Self:
        """Return the request with other values for fields of its selection."""
        return dataclasses.replace(self, selection=self.selection.model_copy(update=options))

    def with_candidate_as(self, default: str) -> Self:
        """Return the request with ``candidate_as`` set where it was None."""
        return dataclasses.replace(self, candidate_as=self.candidate_as or default)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selected:
    """A plan, and what is needed to measure and to judge it.

    :param selection: the selection; on the local GPU it names its releases, and candidates
        that are refs name their commits.
    :param catalogue: all releases, the candidates among them.
    :param entries: the ledger.
    :param bases: the base images that containers are built on.
    :param store: the store with the live evidence; None for recorded evidence alone.
    :param live_only: whether recorded evidence is ignored.
    """

    selection: Selection
    documentation: Documentation
    catalogue: Catalogue
    entries: tuple[LedgerEntry, ...]
    plan: Plan
    bases: tuple[BaseImage, ...]
    store: Store | None
    live_only: bool = False

    @functools.cached_property
    def evidence(self) -> EvidenceIndex:
        """The evidence on the plan. It is read on first use; a run adds its results."""
        kept = None if self.live_only else recorded.evidence(self.plan.lane)
        if kept is not None:
            kept.read(self.plan.scenarios)
        return EvidenceIndex(self.plan, self.store, kept)

    @property
    def on_local_gpu(self) -> bool:
        """Whether the release that is installed for this interpreter is measured, on its GPU."""
        return (self.plan.lane, self.plan.runner) == local_gpu.LOCAL_GPU

    @property
    def candidates(self) -> tuple[Release, ...]:
        """The candidates of the plan."""
        return tuple(release for release in self.plan.releases.values() if release.candidate)

    def of_candidates(self) -> Self:
        """Return a copy in which the plan has the cells and controls of candidates alone."""
        return dataclasses.replace(
            self, plan=self.plan.of([release.name for release in self.candidates])
        )

    def without_evidence(self) -> Self:
        """Return a copy without store and evidence, to be sent to other machines."""
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

    :param store: the store with the live evidence. On the local GPU it also determines the
        savers, unless they are selected by name.
    :param resume: whether an empty selection means that of the last run into the store.
    :param defaults: the values of selection options that are left out.
    :raises MatrixError: the request cannot be planned.
    """
    chosen = _spelled_out(request.selection, store, resume, defaults)
    pinned = tuple(sources.pinned(text, request.git_url) for text in chosen.candidate)
    chosen = chosen.model_copy(update={"candidate": pinned})
    documentation = faq.load()
    known, bases = _catalogue(chosen, request.git_url)
    plan = _plan(chosen, request.candidate_as, known, documentation, defaults)
    return Selected(
        selection=chosen,
        documentation=documentation,
        catalogue=known,
        entries=ledger.load(extra=request.ledger_file),
        plan=plan,
        bases=bases,
        store=store,
    )


def _spelled_out(
    given: Selection, store: Store | None, resume: bool, defaults: Mapping[str, str]
) -> Selection:
    """Return the selection to plan, completed from the store and this environment."""
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
    if chosen.binding is not None and (lane, runner) != (Lane.CPU, RunnerName.LOCAL):
        raise UsageError(
            "--binding is for the cpu lane on this machine",
            why=f"lane {lane.value} with runner {runner.value} was asked for",
        )
    savers, loaders = (
        selection.releases(
            known,
            documentation,
            _first_given(text, chosen.releases, defaults["releases"]),
            with_candidates=(lane, runner) != local_gpu.LOCAL_GPU,
        )
        for text in (chosen.saved_by, chosen.loaded_by)
    )
    wanted = _first_given(chosen.scenario, defaults["scenario"])
    sized = scenarios.load(chosen.scenario_file, chosen.size or SIZES.get(lane))
    if lane == Lane.GPU:
        sized = _trained_on_gpu(sized, wanted)
    variants = scenarios.variants()
    groups = {selection.FAQ: [name for name, one in sized.items() if one.scenario.faq]}
    scenario_names = selection.names("scenario", sized, wanted, groups)
    variant_names = selection.names(
        "variant", variants, _first_given(chosen.variant, defaults["variant"])
    )
    return plan_cells(
        documentation,
        {name: sized[name] for name in scenario_names},
        {name: variants[name] for name in variant_names},
        savers,
        loaders,
        candidate_as=candidate_as or "both",
        lane=lane,
        runner=runner,
        real_binding=chosen.binding is not None,
        whole=list(known.releases) == savers == loaders
        and scenario_names == list(sized)
        and variant_names == list(variants),
    )


def _first_given(*texts: str | None) -> str:
    """Return the first text that is not None; one that is empty was given, and selects nothing."""
    return next(text for text in texts if text is not None)


def _trained_on_gpu(sized: dict[str, SizedScenario], wanted: str) -> dict[str, SizedScenario]:
    """Return the scenarios that the gpu lane can train.

    :param wanted: the selection of scenarios; ``all`` means these.
    :raises UsageError: another one is selected by its name.
    """
    trained = {name: each for name, each in sized.items() if not each.untrained_on_gpu}
    for name in (term.strip() for term in wanted.split(",")):
        if name in sized and name not in trained:
            raise UsageError(
                f"the gpu lane does not train scenario {name} yet",
                why="; ".join(sized[name].untrained_on_gpu),
                do="Use --lane cpu; `te-matrix scenarios` lists what each lane runs",
            )
    return trained


def lane_and_runner(chosen: Selection) -> tuple[Lane, RunnerName]:
    """Return the lane and the runner of a selection, or their defaults."""
    runner = chosen.runner or RunnerName.LOCAL
    in_docker = runner == RunnerName.DOCKER
    return chosen.lane or (Lane.GPU if in_docker else Lane.CPU), runner


def _catalogue(chosen: Selection, git_url: str | None) -> tuple[Catalogue, tuple[BaseImage, ...]]:
    """Return the catalogue with the candidates, and the base images to build on."""
    lane, runner = lane_and_runner(chosen)
    if (lane, runner) == local_gpu.LOCAL_GPU:
        return local_gpu.catalogue(chosen.candidate), ()
    known = releases.load()
    if runner == RunnerName.LOCAL:
        for text in chosen.candidate:
            known = known.with_candidate(sources.described(text, git_url))
        return known, ()
    bases = containers.bases(chosen.images_lock, chosen.base)
    for text in chosen.candidate:
        candidate, own = containers.candidate(text, git_url)
        known, bases = known.with_candidate(candidate), (*own, *bases)
    return containers.identified(known, bases, lane), bases
