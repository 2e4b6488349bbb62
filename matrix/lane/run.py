"""The state of a run: what a plan still lacks, and what has been done."""

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
from matrix.store.recorded import Recorded
from matrix.store.records import Attempt, Save
from matrix.store.store import Store
from matrix.system import cleanup
from matrix.system.progress import Progress


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How a run is carried out.

    :param jobs: number of releases that work at the same time.
    :param timeout: limit for one save or load, in seconds.
    :param every_cell: whether to load also the cells whose checkpoint has the same state as
        one that was loaded already.
    :param scope: the part of the plan to do.
    """

    jobs: int
    timeout: float = CELL_TIMEOUT
    every_cell: bool = False
    scope: Scope = dataclasses.field(default_factory=Scope)


class Run:
    """The saves and loads that bring a store up to date with a plan; safe to share by threads.

    ``execution.execute`` carries it out. A release whose source cannot be fetched takes part
    with recorded evidence.

    :param store: the store for the results; it is prepared for writing.
    :param sources: provides the code of releases.
    :param shipped: the recorded evidence; None to measure everything live.
    :param index: the evidence, if it has been read already; else it is read from the store
        and the recorded evidence. Every result is added, so that the run can be judged by it.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        sources: CodeSource,
        options: RunOptions,
        shipped: Recorded | None,
        progress: Progress | None = None,
        index: EvidenceIndex | None = None,
    ) -> None:
        store.prepare()
        prepare_cache()
        cleanup.sweep(Path(tempfile.gettempdir()), cleanup.SCRATCH)
        self.index = index or EvidenceIndex(plan, store, shipped)
        self.plan = plan
        self.store = store
        self.sources = sources
        self.options = options
        self.progress = progress or Progress()
        self.measured = 0
        self.unsaved: set[str] = set()
        """Names of releases whose checkpoints are needed and do not exist here yet."""
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
            for scenario in self.plan.scenarios
            for release in self.plan.saves(scenario)
            if release.name in self._unavailable
        )
        incomplete = self.unsaved or any(without_evidence)
        return worst([*found, *([ExitCode.INCOMPLETE] if incomplete else [])])

    @property
    def finished(self) -> bool:
        """Whether nothing is left: no release lacked its source, and no attempt failed."""
        return not (self._unavailable or self._failures or self.unsaved)

    # What is left to do.

    def savers(self) -> dict[str, Release]:
        """Return the releases that still have to save, by name."""
        return {release.name: release for _scenario, release in self._remaining.saves()}

    def loaders(self, savers: dict[str, Release]) -> dict[str, Release]:
        """Return the releases that still have to load, by name.

        :param savers: the releases that still have to save.
        """
        return {name: self.plan.releases[name] for name in self._remaining.loads(set(savers))}

    def saves(self) -> dict[str, list[str]]:
        """Return the scenarios still to be saved by releases whose source is available, by name."""
        found = grouped((release.name, scenario) for scenario, release in self._remaining.saves())
        return {name: scenarios for name, scenarios in found.items() if name in self._available}

    def loads(self) -> dict[str, list[Cell]]:
        """Return the cells that can be loaded now, by name of a loader with available source."""
        wanted = {n: cells for n, cells in self._remaining.loads().items() if n in self._available}
        found = {n: [c for c in cells if self._is_saved(c)] for n, cells in wanted.items()}
        return {name: cells for name, cells in found.items() if cells}

    def is_due(self, cell: Cell) -> bool:
        """Tell whether a cell still has to be loaded, as another one may have answered it."""
        return self.options.every_cell or self._remaining.unknown(cell)

    def saved(self, cell: Cell) -> Save:
        """Return the record of the save that a cell loads; there has to be one."""
        known = self.index.save(cell.scenario, self.plan.releases[cell.saved_by])
        assert known is not None
        return known.records[0]

    def _is_saved(self, cell: Cell) -> bool:
        """Tell whether the checkpoint of a cell is available; if not, note its saver."""
        known = self.index.save(cell.scenario, self.plan.releases[cell.saved_by])
        assert known is not None
        digest = known.records[0].file_digest
        assert digest is not None
        there = known.live or recorded.has_checkpoint(self.plan.lane, digest)
        if not there:
            self.unsaved.add(cell.saved_by)
        return there

    # What has been done.

    def note(self, result: Result, *, final: bool = True) -> None:
        """Note the result of a save or a load, which is stored already.

        :param final: False for a failed attempt that will be repeated.
        """
        with self._lock:
            self.index.add(result)
            if not isinstance(result, Attempt):
                self.measured += 1
            elif final:
                self._failures.add(result.kind)

    def note_source(self, release: Release) -> None:
        """Note that the source of a release is available, so that it can save and load."""
        self._available.add(release.name)

    def note_no_source(self, release: Release, kind: AttemptKind, why: str) -> None:
        """Note why a release has no source, and store it unless the last attempt says the same.

        :param kind: of the attempt: unavailable, or infra.
        """
        self._unavailable[release.name] = release
        for scenario in self.plan.scenarios:
            key = self.index.save_attempt_key(scenario, release)
            before = self.index.attempts(key)
            if not before or (before[-1].kind, before[-1].message) != (kind, why):
                lacking = release.name
                attempt = Attempt(key=key, kind=kind, message=why, lacking=lacking, at=now())
                self.store.add_attempt(attempt)
                self.note(attempt)

    def has_source(self, release: Release) -> bool | None:
        """Tell whether the source of a release is available; None if that is not known yet."""
        if release.name in self._available:
            return True
        return False if release.name in self._unavailable else None
