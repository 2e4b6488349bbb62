"""A candidate measured, and held against its baseline in every cell, save and control."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

from matrix import report
from matrix.catalogue import releases
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Standing
from matrix.errors import ExitCode, UnobservedError, UsageError
from matrix.judge.judgement import Judgement
from matrix.lane.run import RunOptions
from matrix.plan.cells import Plan, plan_cells
from matrix.plan.remaining import Scope
from matrix.report import comparison, diff, document, notes, standings
from matrix.report.comparison import Compared
from matrix.report.document import Report
from matrix.store.store import Store
from matrix.system.progress import Progress
from matrix.workflow import correcting, measuring
from matrix.workflow.reading import open_store
from matrix.workflow.runners import RunnerFactory
from matrix.workflow.selecting import Request, Selected, select

DEFAULTS = {"releases": "all", "scenario": "all", "variant": "plain,remapped,trusted"}
"""What a candidate is qualified with where an option of the selection is left out."""

SHIPPED = "recorded evidence"
"""Where the evidence on baselines is from where no run is named."""

_FILES = "a release of the catalogue, or a report.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """What candidates are held against."""

    report: Report
    """The report that has the baselines."""
    instead: dict[str, str]
    """The baseline of each candidate, by name."""
    source: str
    """Where the evidence is from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qualified:
    """What became of a qualification."""

    judgement: Judgement
    """The candidates' cells, judged against the FAQ and the ledger."""
    report: Report
    """The report on them, with the comparison in it."""
    standings: tuple[Compared, ...]
    """Every cell, save and control of the candidates, compared."""

    @property
    def exit_code(self) -> ExitCode:
        """1 where anything is worse; else 4 or 3 where something has no outcome."""
        return ExitCode(self.report.exit_code)

    def of(self, standing: Standing) -> list[Compared]:
        """Return what has a standing."""
        return [one for one in self.standings if one.standing == standing]


def spelled_out(request: Request) -> Request:
    """Return a request with the defaults of a qualification where it leaves options out."""
    given = request.selection
    savers_and_loaders = given.saved_by and given.loaded_by
    missing = {
        name: text
        for name, text in DEFAULTS.items()
        if getattr(given, name) is None and not (name == "releases" and savers_and_loaders)
    }
    return request.replace(**missing)


def plan(request: Request, store: Store | None) -> Selected:
    """Return the plan of a qualification: the cells, saves and controls of the candidates.

    :raises UsageError: there is no candidate, or the selection cannot be planned.
    """
    selected = select(spelled_out(request), store)
    if not selected.candidates:
        raise UsageError("nothing to qualify", do="Name a source tree, wheel, image or git:REF")
    return selected.of_candidates()


def qualify(
    selected: Selected,
    store: Store,
    factory: RunnerFactory,
    options: RunOptions,
    today: datetime.date,
    *,
    against: str | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Qualified:
    """Measure what is not known of candidates, and hold it against their baselines.

    :param selected: the result of :func:`plan`.
    :param factory: makes the runner.
    :param against: see :func:`baseline`.
    :param scheduler: the Dask scheduler; None to measure on this machine.
    :raises MatrixError: nothing can be measured here, or there is no such baseline.
    """
    # Read first: a baseline that is not there should not be found out after an hour.
    names = [release.name for release in selected.candidates]
    held = baseline(selected, names, against, today)
    takes_part = factory.takes_part()

    def wanted(release: Release, _scenario: str) -> bool:
        return takes_part(release)

    how = dataclasses.replace(options, scope=Scope(saves_with=wanted, loads_with=wanted))
    measuring.measure(selected, store, factory, how, progress or Progress(), scheduler)
    return compared(selected, held, today)


def compared(selected: Selected, held: Baseline, today: datetime.date) -> Qualified:
    """Hold what is known of candidates against their baselines. Nothing is run.

    :param selected: a plan of the candidates' cells, with the evidence on them.
    """
    judgement = selected.judge(today)
    made = report.build(judgement, selected.documentation)
    found = comparison.compare(held.report, made, held.instead, selected.plan.variants)
    whole = standings.with_qualification(made, found, held.instead, held.source)
    return Qualified(judgement=judgement, report=whole, standings=tuple(found))


def release_notes(
    request: Request, result: Qualified, store: Store, today: datetime.date, markup: notes.Markup
) -> str:
    """Return the release notes of a candidate on checkpoints.

    :param request: what was qualified, with the candidate.
    :param result: what became of it. The patch of the FAQ rests on the FAQ's scenarios in all
        releases, and on recorded evidence but for the candidate.
    """
    unselected = request.replace(
        releases=None, saved_by=None, loaded_by=None, scenario=None, variant=None
    )
    try:
        faq = notes.quoted(correcting.patch(unselected, store, today), "diff", markup)
    except UnobservedError as error:
        faq = [str(error)]
    known = result.judgement.plan.releases.values()
    (candidate,) = (release for release in known if release.candidate)
    return notes.text(result.report, candidate.opt_in, faq, markup)


def baseline(
    selected: Selected, names: Sequence[str], against: str | None, today: datetime.date
) -> Baseline:
    """Return what candidates are held against.

    :param selected: a plan of their cells; it may lack the candidates themselves.
    :param names: the names of the candidates.
    :param against: a release, a store or a report.json; by default the newest catalogued
        release before each candidate, by the evidence that ships with this package.
    :raises UsageError: it is none of them, or there is no release before a candidate.
    """
    if against is not None and against.endswith(".json"):
        return from_report(document.read(Path(against)), names, against)
    if against is not None and not against.strip():
        raise UsageError(
            "--against names nothing",
            do="Name a release, a store or a report.json, or leave it out",
        )
    release = selected.catalogue.find(against) if against else None
    named = [r.name for r in selected.catalogue.releases if not r.candidate]
    if release is not None and release.name in named:
        named, against = [release.name], None
    store = open_store(against, "a release nor a report.json", _FILES) if against else None
    instead = _instead(names, named)
    evidence = dataclasses.replace(selected, store=store, plan=_plan(selected, instead))
    made = report.build(evidence.judge(today), selected.documentation)
    return Baseline(report=made, instead=instead, source=against or SHIPPED)


def without_candidates(made: Report, request: Request) -> Selected:
    """Return a plan for the baselines of the candidates in a report.

    :param request: what was asked for beside what the report says, e.g. a file of scenarios.
    """
    mine = {row.name for row in made.releases if row.candidate}
    cells = [cell for cell in made.cells if {cell.saved_by, cell.loaded_by} & mine]
    others = [
        ",".join(dict.fromkeys(name for name in names if name not in mine)) or "latest:1"
        for names in ([cell.saved_by for cell in cells], [cell.loaded_by for cell in cells])
    ]
    wanted = request.replace(
        candidate=(),
        releases=None,
        saved_by=others[0],
        loaded_by=others[1],
        scenario=",".join(dict.fromkeys(cell.scenario for cell in cells)),
        variant=",".join(dict.fromkeys(cell.variant for cell in cells)),
        lane=made.lane,
        runner=made.runner,
    )
    return select(wanted)


def from_report(made: Report, candidates: Sequence[str], source: str) -> Baseline:
    """Return a report as the baseline of candidates.

    :param made: a report on releases, or on the qualification of an earlier candidate.
    :param candidates: their names.
    :raises UsageError: it has no release that is not newer than a candidate.
    """
    if made.qualification is not None:
        names = [match.name for match in made.qualification.matches]
    else:
        names = [row.name for row in made.releases if not row.candidate]
    return Baseline(report=made, instead=_instead(candidates, names), source=source)


def _instead(candidates: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Return the newest of the named releases before each candidate; the only one in any case."""
    order = releases.order([*candidates, *names])
    found = {}
    for name in candidates:
        newest = names[0] if len(names) == 1 else diff.newest_until(name, names, order)
        if newest is None:
            raise UsageError(
                f"there is no release before {name} to hold it against",
                do="Name one with --against",
            )
        found[name] = newest
    return found


def _plan(selected: Selected, instead: Mapping[str, str]) -> Plan:
    """Return the plan of the baselines: the candidates' own, with baselines in their places."""
    mine = selected.plan
    baselines = {name: selected.catalogue[name] for name in instead.values()}
    others = [
        [release for release in side if release.name not in {**instead, **baselines}]
        for side in (mine.savers, mine.loaders)
    ]
    savers, loaders = (
        sorted([*side, *baselines.values()], key=lambda release: release.order) for side in others
    )
    whole = plan_cells(
        selected.documentation,
        mine.scenarios,
        mine.variants,
        savers,
        loaders,
        lane=mine.lane,
        runner=mine.runner,
    )
    return whole.of(baselines)
