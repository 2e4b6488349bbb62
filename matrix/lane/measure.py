"""Measures one save or one load with a release's process, and stores the record."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from matrix import __version__
from matrix.catalogue import scenarios
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import SizedScenario
from matrix.catalogue.words import AttemptKind, Lane
from matrix.checkpoint.errors import CheckpointError
from matrix.errors import AnswerError, GapError, StoreError, WorkerError
from matrix.lane.checkpoint_files import CheckpointFiles
from matrix.lane.environment import worker_digest
from matrix.lane.process import ReleaseProcess
from matrix.lane.process_pool import ProcessPool
from matrix.lane.protocol import Answer, LoadAnswer, SaveAnswer, WorkerFailure
from matrix.lane.runner import Runner
from matrix.lane.sources import CodeSource
from matrix.plan.cells import CONTROL, CONTROLS, Cell, Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store.records import Attempt, Load, Provenance, Save
from matrix.store.store import Store
from matrix.system import cleanup

CELL_TIMEOUT = 120.0
"""Default limit for one save or load, in seconds."""

Result = Save | Load | Attempt
"""The result of a save or a load: its record, or the failed attempt."""

Kept = TypeVar("Kept", Save, Load)


class Measurer:
    """Has releases save and load, and stores the results. Leaving the context ends processes.

    Safe to use from any number of threads; each process of a release does one thing at a time.

    :param sources: provides the code of releases.
    :param runner: opens release processes; its context is entered and left with this one.
    :param timeout: limit for one save or load, in seconds.
    :param most: maximum number of release processes at a time; None for no limit.
    :param copies: how many processes a release may have.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        sources: CodeSource,
        runner: Runner,
        timeout: float = CELL_TIMEOUT,
        most: int | None = None,
        copies: int = 1,
    ) -> None:
        self._plan = plan
        self._store = store
        self._timeout = timeout
        self._pool = ProcessPool(plan, sources, runner, timeout, most, copies)
        # Only for the names of keys: looking up evidence is the caller's task.
        self._keys = EvidenceIndex(plan, None, None)
        # The control that loads a release's own save may use a variant that is not planned.
        self._variants = scenarios.variants() | plan.variants

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            self._scratch = Path(held.enter_context(cleanup.scratch()))
            self._files = CheckpointFiles(self._store, self._scratch)
            held.enter_context(self._pool)
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def save(self, release: Release, scenario: str) -> Save | Attempt:
        """Have a release save a checkpoint, and store it with its record.

        :param scenario: name of a scenario of the plan.
        :returns: the record, or the failed attempt; it is stored already.
        :raises StoreError: the result cannot be stored.
        """
        sized, timeout = self._plan.scenarios[scenario], self._timeout
        path = self._scratch / f"{release.name}.{scenario}.pt"
        output = path.with_suffix(".output.pt") if self._plan.lane == Lane.GPU else None

        def ask(process: ReleaseProcess) -> Save | WorkerFailure:
            answer = process.save(sized, path, timeout, output)
            if isinstance(answer, WorkerFailure):
                return answer
            return self._save_record(process, scenario, answer, path, output)

        key = self._keys.save_attempt_key(scenario, release)
        with self._pool.reserved(release):
            return self._measured(release, sized, key, ask, enter=False)

    def load(self, release: Release, cell: Cell, save: Save) -> Load | Attempt:
        """Have a release load a checkpoint, and store the record.

        :param cell: a cell of the plan, or a control.
        :param save: the record of the checkpoint.
        :returns: the record, or the failed attempt; it is stored already.
        :raises StoreError: the result cannot be stored.
        """
        sized, timeout = self._loaded_under(cell), self._timeout
        saver = self._plan.releases[cell.saved_by]
        key = self._keys.attempt_key(cell.scenario, cell.variant, saver, release)
        try:
            checkpoint = self._checkpoint(save, cell)
            output = self._files.get(save, save.output_digest) if save.output_digest else None
        except (StoreError, CheckpointError) as error:
            return self._failed(key, AttemptKind.INFRA, str(error))
        rewrite, opt_in, loads = self._load_options(cell, release)

        def ask(process: ReleaseProcess) -> Load | WorkerFailure:
            answer = process.load(sized, checkpoint, timeout, rewrite, opt_in, loads, output)
            if isinstance(answer, WorkerFailure):
                return answer
            return self._load_record(process, cell, answer, save)

        with self._pool.reserved(release):
            return self._measured(release, sized, key, ask, enter=True)

    def _loaded_under(self, cell: Cell) -> SizedScenario:
        """Return the scenario that a cell is loaded under.

        That of a control is under its own recipe, that of some variants into a plain model.
        """
        scenario = self._plan.scenarios[cell.scenario]
        if cell.variant.startswith(CONTROL):
            return scenario if scenario.one_recipe else scenario.under_own_recipe()
        plain = self._variants[cell.variant].model == "plain"
        return scenario.into_plain_model() if plain else scenario

    def end(self, release: Release) -> None:
        """End the process of a release, if it is running."""
        self._pool.end(release)

    def _measured(
        self,
        release: Release,
        scenario: SizedScenario,
        key: str,
        ask: Callable[[ReleaseProcess], Kept | WorkerFailure],
        *,
        enter: bool,
    ) -> Kept | Attempt:
        """Ask the process of a release for a record, and store it or the failed attempt.

        :param key: key of a failed attempt.
        :param enter: whether the scenario's model has to be built first.
        """
        if start_error := self._pool.start_error(release, scenario.name):
            return self._failed(key, _kind(start_error), str(start_error), lacking=release.name)
        try:
            process = self._pool.start(release, scenario, enter=enter)
        except WorkerError as error:
            self._pool.end_reserved()
            return self._failed(key, _kind(error), str(error), lacking=release.name)
        try:
            found = ask(process)
        except WorkerError as error:
            self._pool.end_reserved()
            return self._failed(key, _kind(error), str(error))
        except AnswerError as error:
            return self._failed(key, AttemptKind.INFRA, str(error))
        if isinstance(found, WorkerFailure):
            kind = AttemptKind.GAP if found.gaps else AttemptKind.INFRA
            return self._failed(key, kind, str(found), found.traceback)
        self._store.add(found)
        return found

    def _failed(
        self, key: str, kind: AttemptKind, message: str, detail: str = "", lacking: str = ""
    ) -> Attempt:
        attempt = Attempt(
            key=key, kind=kind, message=message, detail=detail, lacking=lacking, at=now()
        )
        self._store.add_attempt(attempt)
        return attempt

    def _save_record(
        self,
        process: ReleaseProcess,
        scenario: str,
        answer: SaveAnswer,
        path: Path,
        output: Path | None,
    ) -> Save:
        release, written = process.release, answer.error is None
        return Save(
            key=self._keys.save_key(scenario, release),
            release=release.name,
            source_digest=release.digest,
            scenario=scenario,
            scenario_digest=self._plan.scenarios[scenario].digest,
            lane=self._plan.lane,
            outcome=answer.outcome,
            error=answer.error,
            flaws=answer.flaws,
            state_digest=answer.state_digest,
            keys=answer.keys,
            parts=answer.parts,
            file_digest=self._move_to_store(path, release) if written else None,
            output_digest=self._move_to_store(output, release) if output and written else None,
            provenance=self._provenance(process, answer),
        )

    def _move_to_store(self, path: Path, release: Release) -> str:
        """Move a file that a release has written to the store, and return its digest.

        :raises AnswerError: the file does not exist.
        """
        try:
            digest = self._store.add_checkpoint(path)
        except FileNotFoundError as error:
            raise AnswerError(
                f"the worker of {release.name} answered what is no answer: {error!r}"
            ) from error
        path.unlink()
        return digest

    def _load_record(
        self, process: ReleaseProcess, cell: Cell, answer: LoadAnswer, save: Save
    ) -> Load:
        release = process.release
        return Load(
            key=self._keys.load_key(cell.scenario, cell.variant, save, release),
            release=release.name,
            source_digest=release.digest,
            saved_by=cell.saved_by,
            state_digest=save.state_digest,
            scenario=cell.scenario,
            scenario_digest=self._plan.scenarios[cell.scenario].digest,
            variant=cell.variant,
            lane=self._plan.lane,
            stage=answer.stage,
            error=answer.error,
            missing_keys=answer.missing_keys,
            unexpected_keys=answer.unexpected_keys,
            changed_keys=answer.changed_keys,
            changed_weights=answer.changed_weights,
            lost_recipes=answer.lost_recipes,
            parts=answer.parts,
            after_load=answer.after_load,
            output=answer.output,
            provenance=self._provenance(process, answer),
        )

    def _provenance(self, process: ReleaseProcess, answer: Answer) -> Provenance:
        hello, context, release = process.hello, process.context, process.release
        return Provenance(
            release=release.version,
            source=context.source or release.identity,
            worker=worker_digest(),
            torch=hello.torch,
            python=hello.python,
            machine=hello.machine,
            harness=__version__,
            te=hello.te_version,
            runner=self._plan.runner,
            image=context.image,
            binding="real" if hello.binding else None,
            device=hello.device,
            backend=answer.backend,
            recorded_at=now(),
            seconds=answer.seconds,
        )

    def _checkpoint(self, save: Save, cell: Cell) -> Path:
        """Return the file that a cell loads; it is rewritten if the variant requires that."""
        assert save.file_digest is not None, "a save that raised has nothing to load"
        path = self._files.get(save, save.file_digest)
        variant = self._variants.get(cell.variant)
        if variant is None or variant.form is None:
            return path
        loader = self._plan.releases[cell.loaded_by]
        return self._files.rewritten(path, variant, save, loader)

    def _load_options(self, cell: Cell, loader: Release) -> tuple[str | None, str | None, int]:
        """Return the rewrite to apply, the opt-in to set, and the number of loads."""
        for control in CONTROLS:
            if cell.variant == CONTROL + control.name.value:
                return control.rewrite, loader.opt_in, control.loads
        variant = self._variants[cell.variant]
        return variant.rewrite, None if variant.opt_in == "never" else loader.opt_in, 1


def _kind(error: WorkerError) -> AttemptKind:
    return AttemptKind.GAP if isinstance(error, GapError) else AttemptKind.INFRA


def now() -> str:
    """Return the current time in the format of attempts and records."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
