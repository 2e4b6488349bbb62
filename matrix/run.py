"""A run: what is not known yet is saved and loaded, and every result kept at once."""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from matrix import __version__, recorded, scenarios
from matrix.archive import Archive
from matrix.catalogue import Release
from matrix.doctor import forms
from matrix.doctor.limits import CheckpointError
from matrix.doctor.writing import rewrite
from matrix.errors import (
    ExitCode,
    GapError,
    LostError,
    MatrixError,
    SourceUnavailable,
    StoreError,
    WorkerError,
    worst,
)
from matrix.evidence import (
    Attempt,
    Device,
    Entry,
    Failure,
    Load,
    Moved,
    Output,
    Provenance,
    Save,
    Site,
)
from matrix.index import Index
from matrix.lane import Host, ReleaseProcess, describe, refusal, worker_digest
from matrix.local import LocalHost
from matrix.plan import CONTROLS, Cell, Plan
from matrix.progress import Progress
from matrix.sources import Source, cache_folder, prepare_cache
from matrix.store import Store
from matrix.todo import Scope, Todo, grouped

CELL_TIMEOUT = 120.0


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
        sources: Source,
        options: Options,
        archive: Archive | None,
        progress: Progress | None = None,
        host: Host | None = None,
    ) -> None:
        store.prepare()
        prepare_cache()
        self.plan = plan
        self.store = store
        self.index = Index(plan, store, archive)
        # A loader's own save is a control in a variant that the plan may not have.
        self._variants = scenarios.variants() | plan.variants
        self._todo = Todo(self.index, options.scope)
        self._sources = sources
        self._host = host or LocalHost(cache_folder() / "logs")
        self._options = options
        self._progress = progress or Progress()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ready: dict[str, Path | None] = {}
        self._without: dict[str, Release] = {}
        self._processes: dict[str, ReleaseProcess] = {}
        self._hopeless: dict[tuple[str, str], WorkerError] = {}
        self._lost: set[tuple[str, str]] = set()
        self._trouble: set[str] = set()
        self.unsaved: set[str] = set()
        self.measured = 0

    def execute(self) -> None:
        """Do all that is left to do.

        :raises StoreError: a result cannot be kept.
        """
        saves = self._todo.saves()
        self._fetch({release.name: release for _s, release in saves})
        loads = self._todo.loads({release.name for _s, release in saves})
        self._fetch({name: self.plan.releases[name] for name in loads})
        if not (saves or loads):
            return
        with tempfile.TemporaryDirectory(prefix="te-matrix-") as scratch:
            self._scratch = Path(scratch)
            self._execute(saves)

    @property
    def exit_code(self) -> ExitCode:
        """Whether everything asked for was done, whatever it showed."""
        codes = {"infra": ExitCode.INFRA, "gap": ExitCode.INCOMPLETE}
        found = [codes[kind] for kind in self._trouble if kind in codes]
        alone = (
            self.index.save(scenario, release) is None
            for release in self._without.values()
            for scenario in self.plan.recipes
        )
        incomplete = self.unsaved or any(alone)
        return worst([*found, *([ExitCode.INCOMPLETE] if incomplete else [])])

    def _execute(self, saves: list[tuple[str, Release]]) -> None:
        by_saver = grouped((release.name, scenario) for scenario, release in saves)
        by_saver = {name: items for name, items in by_saver.items() if name in self._ready}
        if not by_saver and not self._live_loads():
            return
        with self._host:
            try:
                self._each("saves", by_saver, self._save)
                self._each("loads", self._live_loads(), self._load)
            finally:
                for release in self.plan.releases.values():
                    self._forget(release)

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
                self._forget(self.plan.releases[name])

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
            place = self._sources.get(release)
        except MatrixError as error:
            kind = "unavailable" if isinstance(error, SourceUnavailable) else "infra"
            for scenario in self.plan.recipes:
                self._no_source(self.index.save_attempt_key(scenario, release), kind, str(error))
            self._without[release.name] = release
            return str(error), release.name
        self._ready[release.name] = place
        return None

    def _no_source(self, key: str, kind: str, why: str) -> None:
        """Note why there is no source, unless that is what the last attempt says."""
        before = self.index.attempts(key)
        if not before or (before[-1].kind, before[-1].message) != (kind, why):
            self._failed(key, kind, why)

    # Saving.

    def _save(self, release: Release, scenario: str) -> None:
        recipe = self.plan.recipes[scenario]
        path = self._scratch / f"{release.name}.{scenario}.pt"
        key = self.index.save_attempt_key(scenario, release)
        timeout = self._options.timeout
        output = path.with_suffix(".output.pt") if self.plan.lane == "gpu" else None
        reply = self._ask(
            release, scenario, key, lambda process: process.save(recipe, path, timeout, output)
        )
        if reply is None:
            return
        self._keep(key, lambda: self._save_record(release, scenario, path, output, reply))
        for written in filter(None, (path, output)):
            written.unlink(missing_ok=True)

    def _save_record(
        self, release: Release, scenario: str, path: Path, output: Path | None, reply: Any
    ) -> Save:
        answer, recipe = reply["answer"], self.plan.recipes[scenario]
        return Save(
            key=self.index.save_key(scenario, release),
            release=release.name,
            source_digest=release.digest,
            scenario=scenario,
            scenario_digest=recipe.digest,
            lane=self.plan.lane,
            state_digest=answer["state_digest"],
            keys={name: Entry(**entry) for name, entry in answer["keys"].items()},
            sites=tuple(Site(**site) for site in answer["sites"]),
            file_digest=self.store.add_checkpoint(path),
            output_digest=self.store.add_checkpoint(output) if output else None,
            provenance=self._provenance(release, reply),
        )

    # Loading.

    def _load(self, release: Release, cell: Cell) -> None:
        if not (self._options.every_cell or self._todo.unknown(cell)):
            return
        saver = self.plan.releases[cell.saved_by]
        known = self.index.save(cell.scenario, saver)
        assert known is not None
        save: Save = known.records[0]
        key = self.index.attempt_key(cell.scenario, cell.variant, saver, release)
        try:
            checkpoint = self._rewritten(self._checkpoint(save, save.file_digest), cell)
            output = save.output_digest and self._checkpoint(save, save.output_digest)
        except (StoreError, CheckpointError) as error:
            self._failed(key, "infra", str(error))
            return
        rewrite, opt_in = self._how(cell, release)
        recipe, timeout = self.plan.recipes[cell.scenario], self._options.timeout
        reply = self._ask(
            release,
            cell.scenario,
            key,
            lambda process: process.load(
                recipe, checkpoint, timeout, rewrite, opt_in, output or None
            ),
            entering=True,
        )
        if reply is not None:
            self._keep(key, lambda: self._load_record(release, cell, save, reply))

    def _how(self, cell: Cell, loader: Release) -> tuple[str | None, str | None]:
        """Return the rewrite to apply and the opt-in to set for a cell or a control."""
        for control in CONTROLS:
            if cell.variant == f"control:{control.name}":
                return control.rewrite, loader.opt_in
        variant = self._variants[cell.variant]
        return variant.rewrite, None if variant.opt_in == "never" else loader.opt_in

    def _load_record(self, release: Release, cell: Cell, save: Save, reply: Any) -> Load:
        answer = reply["answer"]
        recipe = self.plan.recipes[cell.scenario]
        error, moved = answer["error"], answer["after_load"]
        return Load(
            key=self.index.load_key(cell.scenario, cell.variant, save, release),
            release=release.name,
            source_digest=release.digest,
            saved_by=cell.saved_by,
            state_digest=save.state_digest,
            scenario=cell.scenario,
            scenario_digest=recipe.digest,
            variant=cell.variant,
            lane=self.plan.lane,
            stage=answer["stage"],
            error=Failure(**error) if error else None,
            missing_keys=tuple(answer["missing_keys"]),
            unexpected_keys=tuple(answer["unexpected_keys"]),
            sites=tuple(Site(**site) for site in answer["sites"]),
            after_load=None if moved is None else tuple(Moved(**site) for site in moved),
            output=Output(**answer["output"]) if answer.get("output") else None,
            provenance=self._provenance(release, reply),
        )

    def _checkpoint(self, save: Save, digest: str) -> Path:
        """Return a save's checkpoint or output as a file, its bytes checked."""
        path = self._scratch / f"{digest}.pt"
        with self._lock:
            if path.exists():
                return path
            data = self.store.checkpoint(digest)
            if data is None:
                data = recorded.checkpoint(save.lane, digest)
            if data is None:
                raise StoreError(
                    f"checkpoint {digest[:12]} of {save.release} is nowhere",
                    why="its record is here, its file is not",
                    do="Delete the record and run again",
                )
            path.write_bytes(data)
        return path

    def _rewritten(self, checkpoint: Path, cell: Cell) -> Path:
        """Return the file that a cell's variant has loaded: rewritten, where it says so."""
        variant = self._variants.get(cell.variant)
        if variant is None or variant.form is None:
            return checkpoint
        path = checkpoint.with_suffix(f".{variant.form}.pt")
        with self._lock:
            if not path.exists():
                rewrite(checkpoint, path, forms.load()[variant.form])
        return path

    # The worker, and what becomes of its answers.

    def _ask(
        self,
        release: Release,
        scenario: str,
        key: str,
        request: Callable[[ReleaseProcess], dict[str, Any]],
        *,
        entering: bool = False,
    ) -> Any:
        """Return the reply with an answer, or None after noting why there is none.

        :param entering: the scenario's model has to be built before.
        """
        if hopeless := self._hopeless.get((release.name, scenario)):
            self._failed(key, _kind(type(hopeless)), str(hopeless))
            return None
        try:
            reply = request(self._start(release, scenario, entering))
        except WorkerError as error:
            self._forget(release)
            self._failed(key, _kind(type(error)), str(error))
            return None
        if failure := reply.get("failure"):
            trace = failure.get("traceback", "")
            self._failed(key, _kind(refusal(failure)), describe(failure), trace)
            return None
        if gaps := reply["answer"].get("gaps"):
            self._failed(key, "gap", f"not emulated: {'; '.join(gaps)}")
            return None
        return reply

    def _start(self, release: Release, scenario: str, entering: bool) -> ReleaseProcess:
        """Return the release's process, ready to be asked.

        What cannot be started is not tried again in this run; what was lost while it
        started is, once.
        """
        place = release.name, scenario
        try:
            process = self._process(release)
            if entering:
                process.enter(self.plan.recipes[scenario], self._options.timeout)
        except WorkerError as error:
            if not isinstance(error, LostError) or place in self._lost:
                self._hopeless[place] = error
            self._lost.add(place)
            raise
        return process

    def _process(self, release: Release) -> ReleaseProcess:
        """Return the release's process, started if it is not running."""
        running = self._processes.get(release.name)
        if running is None:
            running = self._host.open(release, self._ready[release.name], self.plan.lane)
            self._processes[release.name] = running
        return running

    def _forget(self, release: Release) -> None:
        process = self._processes.pop(release.name, None)
        if process is not None:
            process.close()

    def _keep(self, key: str, make: Callable[[], Save | Load]) -> None:
        """Keep the record that an answer makes; one that makes none is a failed attempt."""
        try:
            record = make()
        except (KeyError, TypeError, ValueError, AttributeError, FileNotFoundError) as error:
            message = f"the worker's answer is no evidence: {type(error).__name__}: {error}"
            self._failed(key, "infra", message)
            return
        self.store.add(record)
        with self._lock:
            self.index.add(record)
            self.measured += 1

    def _failed(self, key: str, kind: Any, message: str, detail: str = "") -> None:
        self._trouble.add(kind)
        self.store.add_attempt(
            Attempt(key=key, kind=kind, message=message, detail=detail, at=_now())
        )

    def _provenance(self, release: Release, reply: Any) -> Provenance:
        process = self._processes[release.name]
        hello = process.hello
        return Provenance(
            release=release.version,
            source=process.place.source or release.identity,
            worker=worker_digest(),
            torch=hello["torch"],
            python=hello["python"],
            machine=hello["machine"],
            harness=__version__,
            te=hello["te_version"],
            runner=self.plan.runner,
            image=process.place.image,
            device=Device(**hello["device"]) if hello.get("device") else None,
            backend=reply["answer"].get("backend"),
            recorded_at=_now(),
            seconds=reply["seconds"],
        )


def _kind(error: type[WorkerError]) -> str:
    return "gap" if issubclass(error, GapError) else "infra"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
