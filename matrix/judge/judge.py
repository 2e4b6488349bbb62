"""Judge evidence: a pure function of evidence, documentation, ledger and date."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Iterator, Sequence
from typing import assert_never

from matrix.catalogue.faq import Documentation, Documented
from matrix.catalogue.releases import Release
from matrix.catalogue.state_keys import EXTRA_STATE
from matrix.catalogue.words import (
    Absence,
    AttemptKind,
    ControlName,
    Deviation,
    EntryState,
    Outcome,
    Requirement,
    RestState,
    SaveOutcome,
    Stage,
    Undocumented,
    Verdict,
)
from matrix.judge import outcomes
from matrix.judge.judgement import (
    ControlCheck,
    EntryCheck,
    JudgedCell,
    Judgement,
    SaveCheck,
)
from matrix.judge.ledger import LedgerEntry
from matrix.judge.outcomes import LoadResult
from matrix.plan.cells import CONTROLS, Cell, Control, Plan
from matrix.plan.evidence_index import EvidenceIndex, Kept, Known, control_variant
from matrix.store.records import Attempt, Failure, Load, Save
from matrix.system.collector import gc_paused


def judge(
    index: EvidenceIndex,
    documentation: Documentation,
    entries: Sequence[LedgerEntry],
    today: datetime.date,
) -> Judgement:
    """Return the verdicts on all cells of a plan.

    :param index: the plan and the evidence on it.
    :param documentation: the FAQ's rules.
    :param entries: the ledger.
    :param today: the date that decides which ledger entries have expired.
    """
    with gc_paused():
        return _Judge(index, documentation, entries, today).all()


class _Judge:
    def __init__(
        self,
        index: EvidenceIndex,
        documentation: Documentation,
        entries: Sequence[LedgerEntry],
        today: datetime.date,
    ) -> None:
        self._index = index
        self._plan = index.plan
        self._documentation = documentation
        self._entries = entries
        self._today = today
        self._matching = _matching(entries, index.plan)
        self._bands = {
            name: documentation.band(release).name for name, release in index.plan.releases.items()
        }
        self._documented_by_bands: dict[tuple[str, str, str], Documented] = {}
        self._saved: dict[tuple[str, str], Known[Save] | _Absent] = {}
        self._results: dict[tuple[int, int], LoadResult] = {}
        self._attempts: dict[tuple[str, str], Sequence[Attempt]] = {}

    def all(self) -> Judgement:
        controls = [
            self._control(scenario, loader, control)
            for scenario in self._plan.scenarios
            for loader in self._plan.controlled
            for control in self._possible_controls(scenario, loader)
        ]
        self._controls: dict[tuple[str, str], list[ControlCheck]] = {}
        for check in controls:
            self._controls.setdefault((check.scenario, check.release), []).append(check)
        verdicts = tuple(self._verdict(cell) for cell in self._plan.cells)
        return Judgement(
            self._plan,
            verdicts,
            tuple(self._save_checks()),
            tuple(controls),
            tuple(self._entry_checks(verdicts, controls)),
            self._today,
        )

    # One cell.

    def _verdict(self, cell: Cell) -> JudgedCell:
        saver, loader = (self._plan.releases[n] for n in (cell.saved_by, cell.loaded_by))
        documented = self._documented(cell.variant, saver, loader)
        saved = self._save(cell.scenario, saver)
        if isinstance(saved, _Absent):
            return _absent(cell, documented, saved)
        if saved.records[0].outcome == SaveOutcome.ERROR:
            return self._without_checkpoint(cell, documented, saved)
        loaded = self._load(cell.scenario, cell.variant, saved, saver, loader)
        if isinstance(loaded, _Absent):
            return _absent(cell, documented, loaded)
        controls = self._controls.get((cell.scenario, cell.loaded_by), [])
        failing = [check for check in controls if not check.good]
        for check in failing:
            if isinstance(check.observed, Absence):
                return _absent(cell, documented, _Absent(check.observed, check.sentence))
        failed = tuple(check.control for check in failing)
        return self._compare(cell, documented, saved, loaded, failed)

    def _documented(self, variant: str, saver: Release, loader: Release) -> Documented:
        """Return the documented outcome, which is the same for all cells of the same bands."""
        place = variant, self._bands[saver.name], self._bands[loader.name]
        found = self._documented_by_bands.get(place)
        if found is None:
            found = self._documented_by_bands[place] = self._documentation.documented(
                variant, saver, loader
            )
        return found

    def _compare(
        self,
        cell: Cell,
        documented: Documented,
        saved: Known[Save],
        loaded: Known[Load],
        controls: tuple[ControlName, ...],
    ) -> JudgedCell:
        save, load = saved.records[0], loaded.records[0]
        result = self._result(save, load)
        deviations = result.deviations(documented.outcome)
        matching = self._matching.get(cell, ())
        verdict, used = _excused(deviations, matching, load.stage, load.error)
        if documented.outcome == Undocumented.UNDOCUMENTED:
            verdict, used = Verdict.UNDOCUMENTED, ()
        return JudgedCell(
            cell=cell,
            documented=documented,
            verdict=verdict,
            outcome=result.outcome,
            after_load=result.after_load,
            result=result,
            note="; ".join((*save.flaws, *result.flaws)),
            controls=controls,
            entries=used,
            save=save,
            load=load,
            save_live=saved.live,
            load_live=loaded.live,
        )

    def _result(self, save: Save, load: Load) -> LoadResult:
        # Savers that wrote the same state share their loads.
        place = id(save), id(load)
        if place not in self._results:
            self._results[place] = outcomes.result(save, load)
        return self._results[place]

    def _without_checkpoint(
        self, cell: Cell, documented: Documented, saved: Known[Save]
    ) -> JudgedCell:
        """Return the verdict on a cell whose saver raised an exception."""
        save = saved.records[0]
        deviations = [] if documented.outcome == Outcome.ERROR else [Deviation.ERROR]
        matching = self._matching.get(cell, ())
        verdict, used = _excused(deviations, matching, Stage.SAVE, save.error)
        if documented.outcome == Undocumented.UNDOCUMENTED:
            verdict, used = Verdict.UNDOCUMENTED, ()
        return JudgedCell(
            cell=cell,
            documented=documented,
            verdict=verdict,
            outcome=Outcome.ERROR,
            entries=used,
            save=save,
            save_live=saved.live,
            load_live=saved.live,
        )

    # Evidence.

    def _save(self, scenario: str, saver: Release) -> Known[Save] | _Absent:
        found = self._saved.get((scenario, saver.name))
        if found is None:
            found = _usable(self._index.save(scenario, saver), self._tried(scenario, saver))
            self._saved[scenario, saver.name] = found
        return found

    def _tried(self, scenario: str, release: Release) -> Sequence[Attempt]:
        """Return the failed attempts at a release's save.

        They count for its loads too, as a missing source or image makes both fail.
        """
        place = scenario, release.name
        if place not in self._attempts:
            key = self._index.save_attempt_key(scenario, release)
            self._attempts[place] = self._index.attempts(key)
        return self._attempts[place]

    def _load(
        self, scenario: str, variant: str, saved: Known[Save], saver: Release, loader: Release
    ) -> Known[Load] | _Absent:
        attempts = [
            *self._tried(scenario, loader),
            *self._index.load_attempts(scenario, variant, saver, loader),
        ]
        known = self._index.load(scenario, variant, saved.records[0], loader)
        return _usable(known, attempts)

    # Controls, saves and ledger entries.

    def _possible_controls(self, scenario: str, loader: Release) -> Sequence[Control]:
        """Return the controls that a loader's save allows: of one that raised, ``own``."""
        saved = self._save(scenario, loader)
        failed = isinstance(saved, Known) and saved.records[0].outcome == SaveOutcome.ERROR
        return CONTROLS[:1] if failed else CONTROLS

    def _control(self, scenario: str, loader: Release, control: Control) -> ControlCheck:
        check = functools.partial(ControlCheck, scenario, loader.name, control.name)
        saved = self._save(scenario, loader)
        if isinstance(saved, _Absent):
            return check(control.required, saved.kind, saved.kind.verdict, saved.why)
        save = saved.records[0]
        required = control.required
        if required == Requirement.LOADED and not any(p.tensors for p in save.attention().values()):
            required = Requirement.NONE
        if save.error:
            entries = self._control_entries(scenario, loader.name, control.name)
            verdict, used = _excused([Deviation.ERROR], entries, Stage.SAVE, save.error)
            return check(required, Outcome.ERROR, verdict, _line(save.error), used)
        variant = control_variant(control, loader, self._plan.scenarios[scenario])
        loaded = self._load(scenario, variant, saved, loader, loader)
        if isinstance(loaded, _Absent):
            return check(required, loaded.kind, loaded.kind.verdict, loaded.why)
        load = loaded.records[0]
        result = self._result(save, load)
        if _meets(result, required):
            return check(required, result.outcome, Verdict.CONFORMS)
        entries = self._control_entries(scenario, loader.name, control.name)
        verdict, used = _excused(_unmet(result, required), entries, load.stage, load.error)
        note = _line(load.error) if load.error else "; ".join((*save.flaws, *result.flaws))
        return check(required, result.outcome, verdict, note, used)

    def _control_entries(
        self, scenario: str, loader: str, control: ControlName
    ) -> list[LedgerEntry]:
        release = self._plan.releases[loader]
        return [
            entry
            for entry in self._entries
            if entry.control == control and scenario in entry.scenarios and entry.loads(release)
        ]

    def _save_checks(self) -> list[SaveCheck]:
        checks = []
        for scenario in self._plan.scenarios:
            for saver in self._plan.savers:
                saved = self._save(scenario, saver)
                if isinstance(saved, Known):
                    checks.append(self._save_check(scenario, saver, saved.records[0]))
        return checks

    def _save_check(self, scenario: str, saver: Release, save: Save) -> SaveCheck:
        documented = self._documentation.band(saver).saves_to or "none"
        if save.error:
            note = _line(save.error)
            return SaveCheck(scenario, saver.name, documented, "none", True, save.outcome, note)
        paths = [part.path for part in save.attention().values() if part.tensors]
        keys = {key for key in (f"{path}.{EXTRA_STATE}" for path in paths) if key in save.keys}
        observed = ", ".join(sorted(keys)) or "none"
        conforms = all(key.endswith(documented) for key in keys) and bool(keys) == (
            documented != "none"
        )
        note = "; ".join(save.flaws)
        return SaveCheck(scenario, saver.name, documented, observed, conforms, save.outcome, note)

    def _entry_checks(
        self, verdicts: Sequence[JudgedCell], controls: Sequence[ControlCheck]
    ) -> Iterator[EntryCheck]:
        seen: dict[str, list[Verdict]] = {entry.id: [] for entry in self._entries}
        for verdict in verdicts:
            for entry in self._matching.get(verdict.cell, ()):
                seen[entry.id].append(verdict.verdict)
        for check in controls:
            for entry in self._control_entries(check.scenario, check.release, check.control):
                seen[entry.id].append(check.verdict)
        for entry in self._entries:
            found = seen[entry.id]
            yield EntryCheck(entry, self._state(entry, found), len(found))

    def _state(self, entry: LedgerEntry, verdicts: Sequence[Verdict]) -> EntryState:
        if entry.expires <= self._today:
            return EntryState.EXPIRED
        if not verdicts:
            return EntryState.UNUSED
        return EntryState.STALE if Verdict.CONFORMS in verdicts else EntryState.USED


def _meets(result: LoadResult, required: Requirement) -> bool:
    """Return whether a control meets its requirement."""
    kept = result.rest_state != RestState.LOST
    match required:
        case Requirement.SHOWN_ONLY:
            return True
        case Requirement.NOT_LOADED:
            return result.outcome != Outcome.LOADED
        case Requirement.LOADED:
            return result.outcome == Outcome.LOADED and kept
        case Requirement.NONE:
            return result.outcome == Outcome.NONE and kept
        case Requirement.ERROR:
            return result.outcome == Outcome.ERROR
    assert_never(required)


def _unmet(result: LoadResult, required: Requirement) -> list[Deviation]:
    """Return in what a control differs from its requirement, which it does not meet."""
    if required in (Requirement.LOADED, Requirement.NONE):
        wanted = Outcome(required.value)
        beside = (Deviation.FROZEN, Deviation.REST_FROZEN, Deviation.SPOILT)
        return [found for found in result.deviations(wanted) if found not in beside]
    return [Deviation(result.outcome.value)]


def _excused(
    deviations: Sequence[Deviation],
    entries: Sequence[LedgerEntry],
    stage: Stage,
    error: Failure | None,
) -> tuple[Verdict, tuple[str, ...]]:
    """Return ``known-deviation`` and the entries only if the ledger explains all deviations."""
    used: list[str] = []
    for deviation in deviations:
        explaining = [entry.id for entry in entries if entry.explains(deviation, stage, error)]
        if not explaining:
            return Verdict.DEVIATES, ()
        used += sorted(explaining)
    return (Verdict.KNOWN_DEVIATION, tuple(used)) if deviations else (Verdict.CONFORMS, ())


def _line(error: Failure) -> str:
    """Return an exception as one line."""
    return f"{error.type}: {' '.join(error.message.split())}"


def _matching(entries: Sequence[LedgerEntry], plan: Plan) -> dict[Cell, list[LedgerEntry]]:
    """Return the ledger entries that match each planned cell."""
    found: dict[Cell, list[LedgerEntry]] = {}
    for entry in (entry for entry in entries if entry.control is None):
        savers = {release.name for release in plan.savers if entry.saves(release)}
        loaders = {release.name for release in plan.loaders if entry.loads(release)}
        for cell in plan.cells:
            if (
                cell.saved_by in savers
                and cell.loaded_by in loaders
                and cell.scenario in entry.scenarios
                and cell.variant in entry.variants
            ):
                found.setdefault(cell, []).append(entry)
    return found


@dataclasses.dataclass(frozen=True)
class _Absent:
    """The absence of usable evidence: its kind, why, and the failed attempt's output."""

    kind: Absence
    why: str
    detail: str = ""


def _usable(known: Known[Kept] | None, attempts: Sequence[Attempt]) -> Known[Kept] | _Absent:
    """Return the evidence if it may be used, else why not.

    Live evidence is used whatever attempts failed. Recorded evidence is used only where the
    source was unavailable or nothing was attempted, and not after a crash.
    """
    if known is not None and known.conflict:
        seen = sorted({record.observed()[:8] for record in known.records})
        return _Absent(Absence.INFRA, f"records under one key disagree: {', '.join(seen)}")
    broken = [attempt for attempt in attempts if attempt.kind != AttemptKind.UNAVAILABLE]
    if known is not None and (known.live or not broken):
        return known
    if attempts:
        last = (broken or attempts)[-1]
        return _Absent(last.kind.absence, last.message, last.detail)
    return _Absent(Absence.NOT_RUN, "nothing was run for it, and nothing is recorded")


def _absent(cell: Cell, documented: Documented, absent: _Absent) -> JudgedCell:
    return JudgedCell(
        cell=cell,
        documented=documented,
        verdict=absent.kind.verdict,
        outcome=absent.kind,
        note=absent.why,
        detail=absent.detail,
    )
