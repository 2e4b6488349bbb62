"""Options that commands share, and what they mean: a plan, a store, a date."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from matrix.catalogue import faq, releases, scenarios, selection
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.selection import Selection
from matrix.catalogue.words import Lane, RunnerName
from matrix.cli import containers, here
from matrix.errors import UsageError, nearest
from matrix.judge import judge, ledger
from matrix.judge.judgement import Judgement
from matrix.judge.ledger import LedgerEntry
from matrix.lane import sources
from matrix.plan import cells
from matrix.plan.cells import plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import every_release
from matrix.store import recorded
from matrix.store.store import Store

STORE = "te-matrix-store"
REPORT = "te-matrix-report"
SIZES = {"gpu": "device"}
"""The size of scenarios.toml that a lane uses unless one is asked for."""


@dataclasses.dataclass(kw_only=True)
class Selected:
    """What the selection options of a command line mean."""

    catalogue: Catalogue
    documentation: Documentation
    plan: cells.Plan
    typed: Selection
    bases: tuple[Any, ...] = ()
    entries: tuple[LedgerEntry, ...] = dataclasses.field(default_factory=ledger.load)


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the selection options to a command."""
    for option in reversed(
        [
            click.option("--releases", help=f"{selection.GRAMMAR}  [default: bands]"),
            click.option("--saved-by", help="savers only; the same grammar"),
            click.option("--loaded-by", help="loaders only; the same grammar"),
            click.option("--scenario", help="NAME,... | all  [default: autocast]"),
            click.option("--variant", help="NAME,... | all  [default: plain,remapped]"),
            click.option(
                "--candidate",
                multiple=True,
                metavar="PATH|IMAGE",
                help="a TE source tree, wheel or image under test, as one more release",
            ),
            click.option(
                "--candidate-as",
                type=click.Choice(["loader", "saver", "both"]),
                help="which of a candidate's cells are planned  [gate: loader; else both]",
            ),
            click.option(
                "--lane",
                type=click.Choice(["cpu", "gpu"]),
                help="what runs TE  [default: gpu in docker, else cpu]",
            ),
            click.option(
                "--runner",
                type=click.Choice(["local", "docker"]),
                help="where: here, or in a container per release  [default: local]",
            ),
            click.option(
                "--images-lock",
                type=click.Path(path_type=Path),
                help="docker: the locked base images to build on  [TE_MATRIX_IMAGES_LOCK]",
            ),
            click.option("--base", help="docker: a base image of your own instead of the lock's"),
            click.option("--size", help="a size of scenarios.toml instead of each scenario's own"),
            click.option(
                "--scenarios",
                "scenario_file",
                type=click.Path(path_type=Path),
                help="a file with scenarios of your own",
            ),
            click.option(
                "--ledger",
                "ledger_file",
                type=click.Path(path_type=Path),
                help="a file with ledger entries of your own, beside the packaged ones",
            ),
        ]
    ):
        command = option(command)
    return command


def select(options: dict[str, Any], last: Selection | None = None) -> Selected:
    """Turn selection options into a plan, taking them out of ``options``.

    :param last: the selection to take up where the options hold none.
    """
    typed = Selection(**{name: options.pop(name) for name in Selection.model_fields})
    if last is not None and typed == Selection():
        typed = last
    documentation = faq.load()
    lane, runner = lane_and_runner(typed)
    if (lane, runner) == here.ON_THIS_GPU and not (typed.saved_by and typed.loaded_by):
        typed = here.spelled_out(typed, options.get("store"))
    known, bases = _known(typed, lane, runner)

    def chosen(text: str | None) -> list[Release]:
        return selection.releases(
            known,
            documentation,
            text or typed.releases or "bands",
            with_candidates=(lane, runner) != here.ON_THIS_GPU,
        )

    recipes = scenarios.load(typed.scenario_file, typed.size or SIZES.get(lane))
    variants = scenarios.variants()
    savers, loaders = chosen(typed.saved_by), chosen(typed.loaded_by)
    wanted_scenarios = selection.names("scenario", recipes, typed.scenario or "autocast")
    wanted_variants = selection.names("variant", variants, typed.variant or "plain,remapped")
    everything = {release.name for release in known.releases}
    made = plan_cells(
        documentation,
        {name: recipes[name] for name in wanted_scenarios},
        {name: variants[name] for name in wanted_variants},
        savers,
        loaders,
        candidate_as=options.pop("candidate_as") or "both",
        lane=lane,
        runner=runner,
        whole=everything == {r.name for r in savers} == {r.name for r in loaders}
        and wanted_scenarios == list(recipes)
        and wanted_variants == list(variants),
    )
    return Selected(
        catalogue=known,
        documentation=documentation,
        plan=made,
        typed=typed,
        bases=bases,
        entries=ledger.load(extra=options.pop("ledger_file")),
    )


def lane_and_runner(typed: Selection) -> tuple[Lane, RunnerName]:
    """Return the lane and the runner that a selection means."""
    runner = typed.runner or RunnerName.LOCAL
    in_docker = runner == RunnerName.DOCKER
    return typed.lane or (Lane.GPU if in_docker else Lane.CPU), runner


def _known(typed: Selection, lane: str, runner: str) -> tuple[Catalogue, tuple[Any, ...]]:
    """Return the catalogue with its candidates, and the bases that containers are built on."""
    if (lane, runner) == here.ON_THIS_GPU:
        return here.known(typed.candidate), ()
    known = releases.load()
    if runner == "local":
        for text in typed.candidate:
            known = known.with_candidate(sources.candidate(Path(text)))
        return known, ()
    bases = containers.bases(typed.images_lock, typed.base)
    for text in typed.candidate:
        candidate, own = containers.candidate(text)
        known, bases = known.with_candidate(candidate), (*own, *bases)
    return containers.identified(known, bases, lane), bases


def judged(selected: Selected, store: Store | None, today: datetime.date) -> Judgement:
    """Judge a selection on what a store and the recorded evidence hold."""
    index = EvidenceIndex(selected.plan, store, recorded.evidence(selected.plan.lane))
    return judge.judge(index, selected.documentation, selected.entries, today)


def with_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --store and --today to a command."""
    store = click.option(
        "--store", default=STORE, show_default=True, help="a folder, or any fsspec URL"
    )
    today = click.option(
        "--today",
        type=click.DateTime(["%Y-%m-%d"]),
        help="the date that ledger entries expire by  [default: today]",
    )
    return store(today(command))


def with_band(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --band to a command that can do its work for one band at a time."""
    return click.option("--band", help="do this band's releases only, and judge nothing")(command)


def of_band(band: str | None, documentation: Documentation) -> Callable[[Release], bool]:
    """Return a test for the releases of a band; None stands for all.

    :raises UsageError: there is no such band.
    """
    if band is None:
        return every_release
    bands = [known.name for known in documentation.bands]
    if band not in bands:
        raise UsageError(f"there is no band {band}", do=nearest(band, bands))
    return lambda release: documentation.band(release).name == band


def date(given: datetime.datetime | None) -> datetime.date:
    """Return the date to judge by: the one given, else today."""
    return given.date() if given else datetime.date.today()
