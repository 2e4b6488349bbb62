"""Judge evidence: a pure function of evidence, documentation, ledger and date."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import assert_never

from matrix.catalogue.faq import Documentation, Documented
from matrix.catalogue.releases import Release
from matrix.catalogue.state_keys import EXTRA_STATE
from matrix.catalogue.words import (
    Absence,
    AfterLoad,
    AttemptKind,
    EntryState,
    Outcome,
    Requirement,
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
from matrix.plan.cells import CONTROLS, Cell, Control, Plan
from matrix.plan.evidence_index import EvidenceIndex, Kept, Known, control_variant
from matrix.store.records import Attempt, Load, Save
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
        self._attempts: dict[tuple[str, str], Sequence[Attempt]] = {}

    def all(self) -> Judgement:
        controls = [
            self._control(scenario, loader, control)
            for scenario in self._plan.scenarios
            for loader in self._plan.loaders
            for control in CONTROLS
        ]
        # Of several failed controls the first is reported, as the later ones may follow from it.
        self._bad = {
            (check.scenario, check.release): check for check in reversed(controls) if not check.good
        }
        verdicts = tuple(self._verdict(cell) for cell in self._plan.cells)
        return Judgement(
            self._plan,
            verdicts,
            tuple(self._save_checks()),
            tuple(controls),
            tuple(self._entry_checks(verdicts)),
            self._today,
        )

    # One cell.

    def _verdict(self, cell: Cell) -> JudgedCell:
        saver, loader = (self._plan.releases[n] for n in (cell.saved_by, cell.loaded_by))
        documented = self._documented(cell.variant, saver, loader)
        saved = self._save(cell.scenario, saver)
        if isinstance(saved, _Absent):
            return _absent(cell, documented, saved)
        loaded = self._load(cell.scenario, cell.variant, saved, saver, loader)
        if isinstance(loaded, _Absent):
            return _absent(cell, documented, loaded)
        if bad := self._bad.get((cell.scenario, cell.loaded_by)):
            return _absent(cell, documented, _Absent(Absence.INFRA, bad.sentence))
        return self._compare(cell, documented, saved, loaded)

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
        self, cell: Cell, documented: Documented, saved: Known[Save], loaded: Known[Load]
    ) -> JudgedCell:
        save, load = saved.records[0], loaded.records[0]
        outcome, after = outcomes.outcome(save, load), outcomes.after_load(load)
        deviations: list[Outcome | AfterLoad] = []
        deviations += [] if outcome == documented.outcome else [outcome]
        deviations += [after] if after == AfterLoad.FROZEN else []
        verdict, used = Verdict.CONFORMS, tuple[str, ...]()
        if documented.outcome == Undocumented.UNDOCUMENTED:
            verdict = Verdict.UNDOCUMENTED
        elif deviations:
            verdict, used = self._excuse(cell, load, deviations)
        return JudgedCell(
            cell=cell,
            documented=documented,
            verdict=verdict,
            outcome=outcome,
            after_load=after,
            note=_explanation(outcome, save, load) if outcome == Outcome.PARTIAL else "",
            entries=used,
            save=save,
            load=load,
            save_live=saved.live,
            load_live=loaded.live,
        )

    def _excuse(
        self, cell: Cell, load: Load, deviations: list[Outcome | AfterLoad]
    ) -> tuple[Verdict, tuple[str, ...]]:
        """Return ``known-deviation`` and the entries only if the ledger explains all deviations."""
        used = []
        for deviation in deviations:
            entries = [
                entry.id
                for entry in self._matching.get(cell, ())
                if entry.explains(deviation, load.stage, load.error)
            ]
            if not entries:
                return Verdict.DEVIATES, ()
            used += sorted(entries)
        return Verdict.KNOWN_DEVIATION, tuple(used)

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

    def _control(self, scenario: str, loader: Release, control: Control) -> ControlCheck:
        observed, note = self._control_outcome(scenario, loader, control)
        supports = self._documentation.band(loader).saves_to is not None
        required = control.required
        if required == Requirement.LOADED and not supports:
            required = Requirement.NONE
        good = _meets(observed, required)
        return ControlCheck(
            scenario, loader.name, control.name, required, observed, good, "" if good else note
        )

    def _control_outcome(
        self, scenario: str, loader: Release, control: Control
    ) -> tuple[Outcome | Absence, str]:
        """Return the outcome, or why there is none, and a line that explains it."""
        saved = self._save(scenario, loader)
        if isinstance(saved, _Absent):
            return saved.kind, saved.why
        variant = control_variant(control, loader, self._plan.scenarios[scenario])
        loaded = self._load(scenario, variant, saved, loader, loader)
        if isinstance(loaded, _Absent):
            return loaded.kind, loaded.why
        save, load = saved.records[0], loaded.records[0]
        outcome = outcomes.outcome(save, load)
        return outcome, _explanation(outcome, save, load)

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
        keys = {f"{site.path}.{EXTRA_STATE}" for site in save.attention().values()}
        observed = ", ".join(sorted(keys)) or "none"
        conforms = all(key.endswith(documented) for key in keys) and bool(keys) == (
            documented != "none"
        )
        return SaveCheck(scenario, saver.name, documented, observed, conforms)

    def _entry_checks(self, verdicts: Sequence[JudgedCell]) -> Iterator[EntryCheck]:
        seen: dict[str, list[Verdict]] = {entry.id: [] for entry in self._entries}
        for verdict in verdicts:
            for entry in self._matching.get(verdict.cell, ()):
                seen[entry.id].append(verdict.verdict)
        for entry in self._entries:
            found = seen[entry.id]
            yield EntryCheck(entry, self._state(entry, found), len(found))

    def _state(self, entry: LedgerEntry, verdicts: Sequence[Verdict]) -> EntryState:
        if entry.expires <= self._today:
            return EntryState.EXPIRED
        if not verdicts:
            return EntryState.UNUSED
        return EntryState.STALE if Verdict.CONFORMS in verdicts else EntryState.USED


def _meets(observed: Outcome | Absence, required: Requirement) -> bool:
    """Return whether the outcome of a control meets its requirement."""
    match required:
        case Requirement.SHOWN_ONLY:
            return True
        case Requirement.NOT_LOADED:
            return isinstance(observed, Outcome) and observed != Outcome.LOADED
        case Requirement.LOADED:
            return observed == Outcome.LOADED
        case Requirement.NONE:
            return observed == Outcome.NONE
        case Requirement.ERROR:
            return observed == Outcome.ERROR
    assert_never(required)


def _explanation(outcome: Outcome, save: Save, load: Load) -> str:
    """Return the error, or the reasons for ``partial``, as one line; empty for the others."""
    if load.error:
        return f"{load.error.type}: {' '.join(load.error.message.split())}"
    return "; ".join(outcomes.flaws(save, load)) if outcome == Outcome.PARTIAL else ""


def _matching(entries: Sequence[LedgerEntry], plan: Plan) -> dict[Cell, list[LedgerEntry]]:
    """Return the ledger entries that match each planned cell."""
    found: dict[Cell, list[LedgerEntry]] = {}
    for entry in entries:
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
