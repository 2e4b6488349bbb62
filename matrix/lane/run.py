"""A run: what is not known yet is saved and loaded, and every result kept at once."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from matrix.catalogue.releases import Release
from matrix.errors import ExitCode, MatrixError, SourceUnavailable, worst
from matrix.lane.local import LocalRunner
from matrix.lane.measure import CELL_TIMEOUT, Measurer, Result, now
from matrix.lane.process import Runner
from matrix.lane.sources import CodeSource, cache_folder, prepare_cache
from matrix.plan.cells import Cell, Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import Remaining, Scope, grouped
from matrix.store import recorded
from matrix.store.archive import Archive
from matrix.store.records import Attempt, Save
from matrix.store.store import Store
from matrix.system import cleanup
from matrix.system.progress import Progress


@dataclasses.dataclass
class Options:
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
    """Brings a store up to date with a plan.

    Two phases, each parallel over releases: every saver saves, then every loader
    loads. A release whose source cannot be had takes part with recorded evidence.

    :param sources: where releases come from.
    :param archive: the recorded evidence; None for a run that shall be live throughout.
    :param host: the runner; by default a fork server on this machine.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        sources: CodeSource,
        options: Options,
        archive: Archive | None,
        progress: Progress | None = None,
        host: Runner | None = None,
    ) -> None:
        store.prepare()
        prepare_cache()
        cleanup.sweep(Path(tempfile.gettempdir()), cleanup.SCRATCH)
        self.plan = plan
        self.store = store
        self.index = EvidenceIndex(plan, store, archive)
        self._todo = Remaining(self.index, options.scope)
        self._sources = sources
        self._host = host or LocalRunner(cache_folder() / "logs")
        self._begun = False
        self._options = options
        self._progress = progress or Progress()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ready: set[str] = set()
        self._without: dict[str, Release] = {}
        self._trouble: set[str] = set()
        self.unsaved: set[str] = set()
        self.measured = 0

    def execute(self) -> None:
        """Do all that is left to do.

        :raises StoreError: a result cannot be kept.
        """
        with contextlib.ExitStack() as self._held:
            saves = self._todo.saves()
            self._fetch({release.name: release for _s, release in saves})
            loads = self._todo.loads({release.name for _s, release in saves})
            self._fetch({name: self.plan.releases[name] for name in loads})
            by_saver = grouped((release.name, scenario) for scenario, release in saves)
            by_saver = {name: items for name, items in by_saver.items() if name in self._ready}
            if by_saver or self._live_loads():
                self._execute(by_saver)

    @property
    def exit_code(self) -> ExitCode:
        """Whether everything asked for was done, whatever it showed."""
        codes = {"infra": ExitCode.INFRA, "gap": ExitCode.INCOMPLETE}
        found = [codes[kind] for kind in self._trouble if kind in codes]
        alone = (
            self.index.save(scenario, release) is None
            for release in self._without.values()
            for scenario in self.plan.scenarios
        )
        incomplete = self.unsaved or any(alone)
        return worst([*found, *([ExitCode.INCOMPLETE] if incomplete else [])])

    def _begin(self) -> None:
        """Have the runner start, which takes a while, once there is something to run."""
        with self._lock:
            if not self._begun:
                made = Measurer(
                    self.plan, self.store, self._sources, self._host, self._options.timeout
                )
                self._measurer = self._held.enter_context(made)
                self._begun = True

    def _execute(self, by_saver: dict[str, list[str]]) -> None:
        self._each("saves", by_saver, self._save)
        self._each("loads", self._live_loads(), self._load)

    def _save(self, release: Release, scenario: str) -> None:
        self._note(self._measurer.save(release, scenario))

    def _load(self, release: Release, cell: Cell) -> None:
        if self._options.every_cell or self._todo.unknown(cell):
            self._note(self._measurer.load(release, cell, self._saved(cell)))

    def _saved(self, cell: Cell) -> Save:
        """Return what is known of the save that a cell loads, where that is known."""
        known = self.index.save(cell.scenario, self.plan.releases[cell.saved_by])
        assert known is not None
        save: Save = known.records[0]
        return save

    def _note(self, result: Result) -> None:
        """Take what a save or a load came to, kept already, into account."""
        with self._lock:
            if isinstance(result, Attempt):
                self._trouble.add(result.kind)
            else:
                self.index.add(result)
                self.measured += 1

    def _live_loads(self) -> dict[str, list[Cell]]:
        """Return what can be loaded now and is not known yet, by loader."""
        wanted = {n: cells for n, cells in self._todo.loads().items() if n in self._ready}
        found = {n: [c for c in cells if self._is_saved(c)] for n, cells in wanted.items()}
        return {name: cells for name, cells in found.items() if cells}

    def _is_saved(self, cell: Cell) -> bool:
        """Tell whether a cell's checkpoint is here, or was recorded; if not, note it."""
        known = self.index.save(cell.scenario, self.plan.releases[cell.saved_by])
        assert known is not None
        there = known.live or recorded.has_checkpoint(self.plan.lane, known.records[0].file_digest)
        if not there:
            self.unsaved.add(cell.saved_by)
        return there

    def _each(
        self, what: str, work: dict[str, list[Any]], do: Callable[[Release, Any], None]
    ) -> None:
        """Do every release's items, releases in parallel, items in order."""
        self._progress.start(what, sum(len(items) for items in work.values()))

        def one(name: str) -> None:
            for item in work[name]:
                if self._stopping.is_set():
                    return
                do(self.plan.releases[name], item)
                self._progress.step(name)
            if not self._host.resident:
                self._measurer.forget(self.plan.releases[name])

        with ThreadPoolExecutor(self._options.jobs) as pool:
            try:
                for done in as_completed([pool.submit(one, name) for name in work]):
                    done.result()
            except BaseException:
                # An interrupt, or a result that cannot be kept: every thread ends
                # after the cell that it is at.
                self._stopping.set()
                raise

    def _fetch(self, releases: dict[str, Release]) -> None:
        """Fetch the sources of releases, in parallel, noting those that cannot be had."""
        left = [r for name, r in releases.items() if name not in {*self._ready, *self._without}]
        with ThreadPoolExecutor(max(self._options.jobs, 4)) as pool:
            refusals = [refusal for refusal in pool.map(self._fetch_one, left) if refusal]
        for message, names in grouped(refusals).items():
            self._progress.say(f"{message} Without source: {', '.join(sorted(names))}.")

    def _fetch_one(self, release: Release) -> tuple[str, str] | None:
        """Fetch one source; return (why, release) where it cannot be had."""
        try:
            self._sources.get(release)
        except MatrixError as error:
            kind = "unavailable" if isinstance(error, SourceUnavailable) else "infra"
            for scenario in self.plan.scenarios:
                self._no_source(self.index.save_attempt_key(scenario, release), kind, str(error))
            self._without[release.name] = release
            return str(error), release.name
        self._ready.add(release.name)
        self._begin()
        return None

    def _no_source(self, key: str, kind: Any, why: str) -> None:
        """Note why there is no source, unless that is what the last attempt says."""
        before = self.index.attempts(key)
        if not before or (before[-1].kind, before[-1].message) != (kind, why):
            self._trouble.add(kind)
            self.store.add_attempt(Attempt(key=key, kind=kind, message=why, at=now()))
