"""Measures and judges cells in which a commit of the git history stands in for a release."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

from matrix import report
from matrix.catalogue import scenarios
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.scenarios import SizedScenario
from matrix.catalogue.words import AttemptKind, Lane, Outcome, RunnerName
from matrix.errors import UsageError
from matrix.judge import judge
from matrix.lane import sources
from matrix.lane.execution import execute
from matrix.lane.process import ReleaseProcess
from matrix.lane.run import Run, RunOptions
from matrix.lane.runner import Runner
from matrix.lane.sources import CodeSource
from matrix.lane.threads import ThreadExecutor
from matrix.plan.cells import Cell, Plan, applies
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import Scope
from matrix.report.cells import ReportCell
from matrix.store import recorded
from matrix.store.recorded import Recorded
from matrix.store.records import Attempt, Failure, Load, Save
from matrix.store.store import Store
from matrix.system import cleanup
from matrix.worker.standin.exports import Exports

Side = Literal["loader", "saver"]
"""Whether the commit loads or saves in the cell."""


@dataclasses.dataclass(frozen=True)
class Walked:
    """A cell of which one side is the commit being judged."""

    scenario: str
    """Name of the scenario."""
    variant: str
    """Name of the variant."""
    partner: str
    """Name of the release on the other side."""
    side: Side
    """The commit's own side."""

    @classmethod
    def of(cls, cell: Cell, side: Side) -> Self:
        """Return a cell with the release on one side left open."""
        partner = cell.saved_by if side == "loader" else cell.loaded_by
        return cls(cell.scenario, cell.variant, partner, side)

    def cell(self, name: str) -> Cell:
        """Return the cell with a release, or a candidate, on the walked side."""
        saver, loader = (self.partner, name) if self.side == "loader" else (name, self.partner)
        return Cell(self.scenario, self.variant, saver, loader)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What was seen of a cell at a commit."""

    outcome: str
    """The outcome as reports show it, e.g. ``loaded (frozen)``."""
    reason: str
    """The error with its stage, or another explanation, in one line; may be empty."""
    kind: str
    """Stage and class of an error; else empty."""
    frames: tuple[str, ...]
    """The innermost frames of the error as ``file:function``."""
    version: str
    """Version of the commit's tree when it was measured."""

    @property
    def text(self) -> str:
        """Outcome and reason as one text."""
        return f"{self.outcome} ({self.reason})" if self.reason else self.outcome


class ReadOnceStore(Store):
    """A store whose records are read once, and whose new ones are added by evidence indices."""

    @functools.cached_property
    def _read_saves(self) -> dict[str, list[Save]]:
        return super().saves()

    @functools.cached_property
    def _read_loads(self) -> dict[str, list[Load]]:
        return super().loads()

    @functools.cached_property
    def _read_attempts(self) -> dict[str, list[Attempt]]:
        return super().attempts()

    def saves(self) -> dict[str, list[Save]]:
        """Return all saves by key."""
        return self._read_saves

    def loads(self) -> dict[str, list[Load]]:
        """Return all loads by key."""
        return self._read_loads

    def attempts(self) -> dict[str, list[Attempt]]:
        """Return all attempts that produced no evidence by key, oldest first."""
        return self._read_attempts


class KeptRunner:
    """A runner that many runs use one after another: leaving their contexts does not end it."""

    resident = True

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def open(self, release: Release, source: Path | None, lane: Lane) -> ReleaseProcess:
        """Start a process for one release, see :class:`Runner`."""
        return self._runner.open(release, source, lane)


class CommitJudge:
    """Measures cells at commits, on the cpu lane, and keeps the records in a store.

    :param repository: local git repository with the history.
    :param store: what is in it, or recorded, is not measured again.
    :param runner: its context has been entered.
    :param code: provides the code of releases and of commits.
    """

    def __init__(
        self,
        repository: str,
        store: Store,
        known: Catalogue,
        documentation: Documentation,
        runner: Runner,
        code: CodeSource,
        options: RunOptions,
    ) -> None:
        self.repository = repository
        self.judged: dict[str, dict[Walked, Seen | None]] = {}
        """What was seen, by commit."""
        self.runs = 0
        """How many commits have been run."""
        self._store = store
        self._known = known
        self._documentation = documentation
        self._runner = runner
        self._code = code
        self._options = options
        self._versions: tuple[str, ...] = ()
        self._sized = scenarios.load()
        self._variants = scenarios.variants()

    def seen(self, commit: str, cells: Iterable[Walked]) -> dict[Walked, Seen | None]:
        """Return what is seen of cells at a commit; None where it could not be judged."""
        wanted = list(cells)
        known = self.judged.setdefault(commit, {})
        left = [cell for cell in wanted if cell not in known]
        if left:
            known.update(self._seen(commit, left))
        return {cell: known[cell] for cell in wanted}

    def between(self, *commits: str) -> None:
        """Set the ends of the range that is walked.

        The version in the tree is raised before what belongs to that version is written. So a
        commit that cannot be judged as the version in its tree is tried as that of an end.
        """
        found = [release.version for commit in commits if (release := self.release(commit))]
        self._versions = tuple(dict.fromkeys(found))

    def _seen(self, commit: str, cells: Sequence[Walked]) -> dict[Walked, Seen | None]:
        found: dict[Walked, Seen | None] = dict.fromkeys(cells)
        release = self.release(commit)
        if release is None:
            return found
        shipped = recorded.evidence(Lane.CPU)
        found |= self.measured(release, cells, self._store, shipped)
        for version in dict.fromkeys(self._versions):
            left = [cell for cell, seen in found.items() if seen is None]
            if version != release.version and left:
                mine = release.model_copy(update={"version": version})
                found |= self.measured(mine, left, self._store, shipped, again=True)
        return found

    def release(self, commit: str) -> Release | None:
        """Return a commit as a candidate; None where its tree is no Transformer Engine."""
        try:
            return sources.git_candidate(f"{sources.GIT}{commit}@{commit}", self.repository)
        except UsageError:
            return None

    def as_version(self, commit: str, version: str, cell: Walked) -> Seen | None:
        """Return what is seen at a commit with the compiled extension of another version.

        Nothing is kept of it, and nothing known is used: the key of a record does not name the
        extension.
        """
        release = self.release(commit)
        if release is None:
            return None
        with cleanup.scratch() as work:
            store = Store(work)
            changed = release.model_copy(update={"version": version})
            return self.measured(changed, [cell], store, None).get(cell)

    def measured(
        self,
        release: Release,
        cells: Sequence[Walked],
        store: Store,
        shipped: Recorded | None,
        *,
        again: bool = False,
    ) -> dict[Walked, Seen | None]:
        """Measure cells with a candidate, and return what is seen of each that is one.

        :param shipped: recorded evidence; None to ignore it.
        :param again: whether to run also what has failed before.
        """
        plan = self._plan(release, cells)
        places = {walked.cell(release.name): walked for walked in cells}
        if not plan.cells:
            return {}
        index = EvidenceIndex(plan, store, shipped)
        todo = [cell for cell in plan.cells if not _known(index, cell, again=again)]
        if todo:
            self._run(dataclasses.replace(plan, cells=tuple(todo)), store, index, shipped)
            index = EvidenceIndex(plan, store, shipped)
        judgement = judge.judge(index, self._documentation, (), datetime.date.min)
        found: dict[Walked, Seen | None] = {}
        for verdict in judgement.verdicts:
            walked = places[verdict.cell]
            mine = verdict.load if walked.side == "loader" else verdict.save
            version = mine.provenance.release if mine else release.version
            cell = report.cell_of(verdict, judgement)
            found[walked] = _seen(cell, verdict.error, version)
        return found

    def _run(
        self, plan: Plan, store: Store, before: EvidenceIndex, shipped: Recorded | None
    ) -> None:
        """Do the loads of a plan, and the saves that they need and that are not at hand."""
        self.runs += 1
        needed = {(cell.scenario, cell.saved_by) for cell in plan.cells}

        def saves(release: Release, scenario: str) -> bool:
            return (scenario, release.name) in needed and not _at_hand(before, scenario, release)

        options = dataclasses.replace(self._options, scope=Scope(saves_with=saves))
        index = EvidenceIndex(plan, store, shipped)
        run = Run(plan, store, self._code, options, None, None, index)
        execute(run, ThreadExecutor(KeptRunner(self._runner)))

    def _plan(self, release: Release, cells: Sequence[Walked]) -> Plan:
        """Return the plan of the cells that exist with a candidate, without controls."""
        known = self._known.with_candidate(release)
        named = (each.cell(release.name) for each in cells)
        planned = [cell for cell in named if self._exists(cell, known)]
        savers, loaders = (
            tuple(sorted((known[name] for name in names), key=lambda each: each.order))
            for names in ({c.saved_by for c in planned}, {c.loaded_by for c in planned})
        )
        return Plan(
            lane=Lane.CPU,
            runner=RunnerName.LOCAL,
            scenarios={cell.scenario: self._sized[cell.scenario] for cell in planned},
            variants={cell.variant: self._variants[cell.variant] for cell in planned},
            savers=savers,
            loaders=loaders,
            cells=tuple(planned),
            whole=False,
            controlled=(),
        )

    def _exists(self, cell: Cell, known: Catalogue) -> bool:
        saver, loader = known[cell.saved_by], known[cell.loaded_by]
        sized: SizedScenario = self._sized[cell.scenario]
        variant = self._variants[cell.variant]
        return (
            sized.is_saved_by(saver)
            and sized.is_loaded_by(loader)
            and variant.applies_to(sized, loader)
            and applies(variant, saver, loader, self._documentation)
        )


def _known(index: EvidenceIndex, cell: Cell, *, again: bool) -> bool:
    """Return whether nothing has to be run for a cell, as it or its failure is known.

    What the lane does not emulate stays so; any other failure is tried a second time.
    """
    saved, loaded = index.cell(cell)
    if loaded is not None or (saved is not None and saved.records[0].file_digest is None):
        return True
    if again:
        return False
    saver, loader = (index.plan.releases[name] for name in (cell.saved_by, cell.loaded_by))
    failed = [
        *index.load_attempts(cell.scenario, cell.variant, saver, loader),
        *index.attempts(index.save_attempt_key(cell.scenario, saver)),
    ]
    return len(failed) > 1 or any(attempt.kind == AttemptKind.GAP for attempt in failed)


def _at_hand(index: EvidenceIndex, scenario: str, release: Release) -> bool:
    """Return whether a release's checkpoint can be loaded without saving it again."""
    known = index.save(scenario, release)
    if known is None:
        return False
    digest = known.records[0].file_digest
    return known.live or digest is None or recorded.has_checkpoint(Lane.CPU, digest)


def _seen(cell: ReportCell, error: Failure | None, version: str) -> Seen | None:
    """Return what was seen of a cell, None where it has no outcome."""
    if not isinstance(cell.outcome, Outcome):
        return None
    kind = f"{cell.stage.value if cell.stage else ''} {cell.error_type}" if cell.error_type else ""
    frames = error.frames if error else ()
    return Seen(cell.seen, cell.reason, kind, frames, version)


def same_extension(one: str, other: str) -> bool:
    """Return whether the cpu lane gives trees of two versions the same compiled extension."""
    return _extension(one) == _extension(other)


@functools.cache
def _extension(version: str) -> dict[str, object]:
    """Return what the stand-in for the extension of a version exports."""
    return vars(Exports(version, candidate=True))
