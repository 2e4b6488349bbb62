"""Measuring: one save or one load, done by a release's process and kept in the store."""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from matrix import __version__
from matrix.catalogue import scenarios
from matrix.catalogue.releases import Release
from matrix.checkpoint import forms
from matrix.checkpoint.limits import CheckpointError
from matrix.checkpoint.writing import rewrite
from matrix.errors import (
    GapError,
    LostError,
    SourceError,
    SourceUnavailable,
    StoreError,
    WorkerError,
)
from matrix.lane.process import ReleaseProcess, Runner, describe, refusal, worker_digest
from matrix.lane.sources import CodeSource
from matrix.plan.cells import CONTROLS, Cell, Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.records import (
    Attempt,
    Device,
    Failure,
    Load,
    Moved,
    Output,
    Provenance,
    Save,
    Site,
    StateEntry,
)
from matrix.store.store import Store
from matrix.system import cleanup

CELL_TIMEOUT = 120.0

Kept = TypeVar("Kept", Save, Load)

Result = Save | Load | Attempt
"""What a save or a load comes to: a record, or why there is none."""


class Measurer:
    """Has releases save and load, and keeps what comes of it. A context manager.

    Any number of threads may ask at the same time; each release is asked one thing at a time.

    :param sources: where the code of releases is.
    :param host: the runner; it is entered and left together with this.
    :param timeout: seconds that one save or load may take.
    :param most: release processes kept at the same time; None for any number.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        sources: CodeSource,
        host: Runner,
        timeout: float = CELL_TIMEOUT,
        most: int | None = None,
    ) -> None:
        self._plan = plan
        self._store = store
        self._sources = sources
        self._host = host
        self._timeout = timeout
        self._most = most
        # Evidence is the caller's affair; of the index only the names of keys are used.
        self._keys = EvidenceIndex(plan, None, None)
        # A loader's own save is a control in a variant that the plan may not have.
        self._variants = scenarios.variants() | plan.variants
        self._lock = threading.Lock()
        self._busy = {name: threading.Lock() for name in plan.releases}
        self._processes: OrderedDict[str, ReleaseProcess] = OrderedDict()
        self._hopeless: dict[tuple[str, str], WorkerError] = {}
        self._lost: set[tuple[str, str]] = set()
        self._files = threading.Lock()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            self._scratch = Path(held.enter_context(cleanup.scratch()))
            held.enter_context(self._host)
            held.callback(self._forget_all)
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    # What can be asked.

    def save(self, release: Release, scenario: str) -> Save | Attempt:
        """Have a release save a scenario's checkpoint; keep it, and the record of it.

        :raises StoreError: the result cannot be kept.
        """
        with self._busy[release.name]:
            return self._save(release, scenario)

    def load(self, release: Release, cell: Cell, save: Save) -> Load | Attempt:
        """Have a release load the checkpoint of a known save, and keep the record of it.

        :param cell: a cell of the plan, or a control.
        :raises StoreError: the result cannot be kept.
        """
        with self._busy[release.name]:
            return self._load(release, cell, save)

    def forget(self, release: Release) -> None:
        """End a release's process, where one is running."""
        with self._lock:
            process = self._processes.pop(release.name, None)
        if process is not None:
            process.close()

    # Saving.

    def _save(self, release: Release, scenario: str) -> Save | Attempt:
        sized, timeout = self._plan.scenarios[scenario], self._timeout
        path = self._scratch / f"{release.name}.{scenario}.pt"
        key = self._keys.save_attempt_key(scenario, release)
        output = path.with_suffix(".output.pt") if self._plan.lane == "gpu" else None
        reply = self._ask(
            release, scenario, key, lambda process: process.save(sized, path, timeout, output)
        )
        if isinstance(reply, Attempt):
            return reply
        return self._kept(
            release, key, lambda: self._save_record(release, scenario, path, output, reply)
        )

    def _save_record(
        self, release: Release, scenario: str, path: Path, output: Path | None, reply: Any
    ) -> Save:
        sized, answer = self._plan.scenarios[scenario], reply["answer"]
        record = Save(
            key=self._keys.save_key(scenario, release),
            release=release.name,
            source_digest=release.digest,
            scenario=scenario,
            scenario_digest=sized.digest,
            lane=self._plan.lane,
            state_digest=answer["state_digest"],
            keys={name: StateEntry(**entry) for name, entry in answer["keys"].items()},
            sites=tuple(Site(**site) for site in answer["sites"]),
            file_digest=self._store.add_checkpoint(path),
            output_digest=self._store.add_checkpoint(output) if output else None,
            provenance=self._provenance(release, reply),
        )
        for written in filter(None, (path, output)):
            written.unlink()
        return record

    # Loading.

    def _load(self, release: Release, cell: Cell, save: Save) -> Load | Attempt:
        saver = self._plan.releases[cell.saved_by]
        key = self._keys.attempt_key(cell.scenario, cell.variant, saver, release)
        try:
            checkpoint = self._rewritten(self._checkpoint(save, save.file_digest), cell)
            output = self._checkpoint(save, save.output_digest) if save.output_digest else None
        except (StoreError, CheckpointError) as error:
            return self.failed(key, "infra", str(error))
        rewriting, opt_in, loads = self._how(cell, release)
        sized, timeout = self._plan.scenarios[cell.scenario], self._timeout
        reply = self._ask(
            release,
            cell.scenario,
            key,
            lambda process: process.load(
                sized, checkpoint, timeout, rewriting, opt_in, loads, output
            ),
            entering=True,
        )
        if isinstance(reply, Attempt):
            return reply
        return self._kept(release, key, lambda: self._load_record(release, cell, save, reply))

    def _how(self, cell: Cell, loader: Release) -> tuple[str | None, str | None, int]:
        """Return the rewrite to apply, the opt-in to set, and how often to load."""
        for control in CONTROLS:
            if cell.variant == f"control:{control.name}":
                return control.rewrite, loader.opt_in, control.loads
        variant = self._variants[cell.variant]
        return variant.rewrite, None if variant.opt_in == "never" else loader.opt_in, 1

    def _load_record(self, release: Release, cell: Cell, save: Save, reply: Any) -> Load:
        answer = reply["answer"]
        sized = self._plan.scenarios[cell.scenario]
        error, moved = answer["error"], answer["after_load"]
        return Load(
            key=self._keys.load_key(cell.scenario, cell.variant, save, release),
            release=release.name,
            source_digest=release.digest,
            saved_by=cell.saved_by,
            state_digest=save.state_digest,
            scenario=cell.scenario,
            scenario_digest=sized.digest,
            variant=cell.variant,
            lane=self._plan.lane,
            stage=answer["stage"],
            error=Failure(**error) if error else None,
            missing_keys=tuple(answer["missing_keys"]),
            unexpected_keys=tuple(answer["unexpected_keys"]),
            changed_keys=tuple(answer["changed_keys"]),
            lost_recipes=tuple(answer["lost_recipes"]),
            sites=tuple(Site(**site) for site in answer["sites"]),
            after_load=None if moved is None else tuple(Moved(**site) for site in moved),
            output=Output(**answer["output"]) if answer.get("output") else None,
            provenance=self._provenance(release, reply),
        )

    def _checkpoint(self, save: Save, digest: str) -> Path:
        """Return a save's checkpoint or output as a file, its bytes checked."""
        path = self._scratch / f"{digest}.pt"
        with self._files:
            if path.exists():
                return path
            data = self._store.checkpoint(digest)
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
        with self._files:
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
    ) -> dict[str, Any] | Attempt:
        """Return the reply with an answer, or the attempt that was kept in its place.

        :param entering: the scenario's model has to be built before.
        """
        if hopeless := self._hopeless.get((release.name, scenario)):
            return self.failed(key, _kind(type(hopeless)), str(hopeless))
        try:
            reply = request(self._start(release, scenario, entering))
        except WorkerError as error:
            self.forget(release)
            return self.failed(key, _kind(type(error)), str(error))
        if failure := reply.get("failure"):
            trace = failure.get("traceback", "")
            return self.failed(key, _kind(refusal(failure)), describe(failure), trace)
        if gaps := reply["answer"].get("gaps"):
            return self.failed(key, "gap", f"not emulated: {'; '.join(gaps)}")
        return reply

    def _kept(self, release: Release, key: str, make: Callable[[], Kept]) -> Kept | Attempt:
        """Keep the record that an answer makes; one that makes none is a failed attempt."""
        try:
            record = make()
        except (KeyError, TypeError, AttributeError, ValueError, FileNotFoundError) as error:
            message = f"the worker of {release.name} answered what is no answer: {error!r}"
            return self.failed(key, "infra", " ".join(message.split()))
        self._store.add(record)
        return record

    def _start(self, release: Release, scenario: str, entering: bool) -> ReleaseProcess:
        """Return the release's process, ready to be asked.

        What cannot be started is not tried again in this run; what was lost while it
        started is, once.
        """
        place = release.name, scenario
        try:
            process = self._process(release)
            if entering:
                process.enter(self._plan.scenarios[scenario], self._timeout)
        except WorkerError as error:
            if not isinstance(error, LostError) or place in self._lost:
                self._hopeless[place] = error
            self._lost.add(place)
            raise
        return process

    def _process(self, release: Release) -> ReleaseProcess:
        """Return the release's process, started if it is not running."""
        with self._lock:
            running = self._processes.get(release.name)
            if running is not None:
                self._processes.move_to_end(release.name)
                return running
        self._make_room()
        try:
            source = self._sources.get(release)
        except (SourceError, SourceUnavailable) as error:
            raise WorkerError(str(error)) from error
        running = self._host.open(release, source, self._plan.lane)
        with self._lock:
            self._processes[release.name] = running
        return running

    def _make_room(self) -> None:
        """End the processes that were not asked for the longest time, until one more may be."""
        with self._lock:
            over = len(self._processes) + 1 - (self._most or len(self._processes) + 1)
            idle = [name for name in self._processes if self._busy[name].acquire(blocking=False)]
        for name in idle:
            if over > 0:
                self.forget(self._plan.releases[name])
                over -= 1
            self._busy[name].release()

    def _forget_all(self) -> None:
        for release in self._plan.releases.values():
            self.forget(release)

    def failed(self, key: str, kind: Any, message: str, detail: str = "") -> Attempt:
        """Keep an attempt that gave no evidence, and return it.

        :raises StoreError: it cannot be kept.
        """
        attempt = Attempt(key=key, kind=kind, message=message, detail=detail, at=now())
        self._store.add_attempt(attempt)
        return attempt

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
            runner=self._plan.runner,
            image=process.place.image,
            device=Device(**hello["device"]) if hello.get("device") else None,
            backend=reply["answer"].get("backend"),
            recorded_at=now(),
            seconds=reply["seconds"],
        )


def _kind(error: type[WorkerError]) -> str:
    return "gap" if issubclass(error, GapError) else "infra"


def now() -> str:
    """Return the time, as attempts and records carry it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
