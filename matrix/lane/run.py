"""A run: what a plan still lacks, and what has come of it so far."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from pathlib import Path

from matrix.catalogue.releases import Release
from matrix.catalogue.words import AttemptKind
from matrix.errors import ExitCode, worst
from matrix.lane.measure import CELL_TIMEOUT, Result, now
from matrix.lane.sources import CodeSource, prepare_cache
from matrix.plan.cells import Cell, Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import Remaining, Scope, grouped
from matrix.store import recorded
from matrix.store.archive import Archive
from matrix.store.records import Attempt, Save
from matrix.store.store import Store
from matrix.system import cleanup
from matrix.system.progress import Progress


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run is carried out.

    :param jobs: releases worked on at the same time.
    :param timeout: seconds that one save or load may take.
    :param every_cell: load also what another saver's cell has answered in this run,
        because both wrote the very same state.
    :param scope: the part of the plan to do.
    """

    jobs: int
    timeout: float = CELL_TIMEOUT
    every_cell: bool = False
    scope: Scope = dataclasses.field(default_factory=Scope)


class Run:
    """The saves and loads to be done to bring a store up to date with a plan.

    ``execution.execute`` has an executor do them. A release whose source cannot be had takes
    part with recorded evidence. Threads may share a run.

    :param store: where results are kept; it is made ready to be written.
    :param sources: where the code of releases is.
    :param archive: the recorded evidence; None for a run that shall be live throughout.
    :param index: what is known of the plan, where that has been read already. Every result is
        added to it, so that what came of the run can be judged by it.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        sources: CodeSource,
        options: RunOptions,
        archive: Archive | None,
        progress: Progress | None = None,
        index: EvidenceIndex | None = None,
    ) -> None:
        store.prepare()
        prepare_cache()
        cleanup.sweep(Path(tempfile.gettempdir()), cleanup.SCRATCH)
        self.index = index or EvidenceIndex(plan, store, archive)
        self.plan = plan
        self.store = store
        self.sources = sources
        self.options = options
        self.progress = progress or Progress()
        self.measured = 0
        self.unsaved: set[str] = set()
        """Savers whose checkpoints are needed and are not here yet."""
        self._remaining = Remaining(self.index, options.scope)
        self._available: set[str] = set()
        self._unavailable: dict[str, Release] = {}
        self._failures: set[AttemptKind] = set()
        self._lock = threading.Lock()

    @property
    def exit_code(self) -> ExitCode:
        """Exit code for completeness only; verdicts do not count."""
        codes = {AttemptKind.INFRA: ExitCode.INFRA, AttemptKind.GAP: ExitCode.INCOMPLETE}
        found = [codes[kind] for kind in self._failures if kind in codes]
        without_evidence = (
            self.index.save(scenario, release) is None
            for release in self._unavailable.values()
            for scenario in self.plan.scenarios
        )
        incomplete = self.unsaved or any(without_evidence)
        return worst([*found, *([ExitCode.INCOMPLETE] if incomplete else [])])

    # What is to be done.

    def savers(self) -> dict[str, Release]:
        """Return the releases that still have to save."""
        return {release.name: release for _scenario, release in self._remaining.saves()}

    def loaders(self, savers: dict[str, Release]) -> dict[str, Release]:
        """Return the releases that still have to load.

        :param savers: the releases that still have to save.
        """
        return {name: self.plan.releases[name] for name in self._remaining.loads(set(savers))}

    def saves(self) -> dict[str, list[str]]:
        """Return the scenarios that each available release still has to save."""
        found = grouped((release.name, scenario) for scenario, release in self._remaining.saves())
        return {name: scenarios for name, scenarios in found.items() if name in self._available}

    def loads(self) -> dict[str, list[Cell]]:
        """Return what each available release can load now and has not loaded yet."""
        wanted = {n: cells for n, cells in self._remaining.loads().items() if n in self._available}
        found = {n: [c for c in cells if self._is_saved(c)] for n, cells in wanted.items()}
        return {name: cells for name, cells in found.items() if cells}

    def is_due(self, cell: Cell) -> bool:
        """Tell whether a cell still has to be loaded: another's load may have answered it."""
        return self.options.every_cell or self._remaining.unknown(cell)

    def saved(self, cell: Cell) -> Save:
        """Return the save that a cell loads, which is known."""
        known = self.index.save(cell.scenario, self.plan.releases[cell.saved_by])
        assert known is not None
        return known.records[0]

    def _is_saved(self, cell: Cell) -> bool:
        """Tell whether a cell's checkpoint is here, or was recorded; if not, note it."""
        known = self.index.save(cell.scenario, self.plan.releases[cell.saved_by])
        assert known is not None
        digest = known.records[0].file_digest
        assert digest is not None
        there = known.live or recorded.has_checkpoint(self.plan.lane, digest)
        if not there:
            self.unsaved.add(cell.saved_by)
        return there

    # What has come of it.

    def note(self, result: Result, *, final: bool = True) -> None:
        """Take what a save or a load came to, kept already, into account.

        :param final: False for a failed attempt that is about to be repeated.
        """
        with self._lock:
            self.index.add(result)
            if not isinstance(result, Attempt):
                self.measured += 1
            elif final:
                self._failures.add(result.kind)

    def note_source(self, release: Release) -> None:
        """Note that a release's source is here, so that it can save and load."""
        self._available.add(release.name)

    def note_no_source(self, release: Release, kind: AttemptKind, why: str) -> None:
        """Keep why a release has no source, unless that is what the last attempt says.

        :param kind: of the attempt: unavailable, or infra.
        """
        self._unavailable[release.name] = release
        for scenario in self.plan.scenarios:
            key = self.index.save_attempt_key(scenario, release)
            before = self.index.attempts(key)
            if not before or (before[-1].kind, before[-1].message) != (kind, why):
                attempt = Attempt(key=key, kind=kind, message=why, at=now())
                self.store.add_attempt(attempt)
                self.note(attempt)

    def has_source(self, release: Release) -> bool | None:
        """Tell whether a release's source is here; None where nobody has asked yet."""
        if release.name in self._available:
            return True
        return False if release.name in self._unavailable else None
