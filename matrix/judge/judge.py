"""Judge evidence: a pure function of evidence, documentation, ledger and date."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from matrix.catalogue.faq import UNDOCUMENTED, Documentation, Documented
from matrix.catalogue.releases import Release
from matrix.catalogue.state_keys import state_key
from matrix.catalogue.words import (
    Absence,
    ControlName,
    Deviation,
    EntryState,
    Outcome,
    SaveOutcome,
    Stage,
    Undocumented,
    Verdict,
)
from matrix.judge import controls
from matrix.judge.evidence import Absent, UsableEvidence
from matrix.judge.judgement import (
    ControlCheck,
    EntryCheck,
    JudgedCell,
    Judgement,
    SaveCheck,
)
from matrix.judge.ledger import LedgerEntry, excused
from matrix.plan.cells import Cell, Plan
from matrix.plan.evidence_index import EvidenceIndex, Known
from matrix.store.records import Failure, Load, Save
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
        self._plan = index.plan
        self._evidence = UsableEvidence(index)
        self._documentation = documentation
        self._entries = entries
        self._today = today
        self._matching = _matching(entries, index.plan)
        self._bands = {
            name: documentation.band(release).name for name, release in index.plan.releases.items()
        }
        self._documented_by_bands: dict[tuple[str, str, str], Documented] = {}

    def all(self) -> Judgement:
        checks = tuple(controls.checks(self._evidence, self._entries))
        self._controls: dict[tuple[str, str], list[ControlCheck]] = {}
        for check in checks:
            self._controls.setdefault((check.scenario, check.release), []).append(check)
        verdicts = tuple(self._verdict(cell) for cell in self._plan.cells)
        return Judgement(
            self._plan,
            verdicts,
            tuple(self._save_checks()),
            checks,
            tuple(self._entry_checks(verdicts, checks)),
            self._today,
        )

    # One cell.

    def _verdict(self, cell: Cell) -> JudgedCell:
        saver, loader = (self._plan.releases[n] for n in (cell.saved_by, cell.loaded_by))
        documented = self._documented(cell, saver, loader)
        saved = self._evidence.save(cell.scenario, saver)
        if isinstance(saved, Absent):
            return _absent(cell, documented, saved)
        if saved.records[0].outcome == SaveOutcome.ERROR:
            return self._without_checkpoint(cell, documented, saved)
        loaded = self._evidence.load(cell.scenario, cell.variant, saved, saver, loader)
        if isinstance(loaded, Absent):
            return _absent(cell, documented, loaded)
        known = self._controls.get((cell.scenario, cell.loaded_by), [])
        failing = [check for check in known if not check.good]
        for check in failing:
            if isinstance(check.observed, Absence):
                gap = check.observed == Absence.INCONCLUSIVE
                kind = Absence.INCONCLUSIVE if gap else Absence.INFRA
                absent = Absent(kind, check.sentence, lacking=check.lacking)
                return _absent(cell, documented, absent)
        return self._compare(
            cell, documented, saved, loaded, tuple(check.control for check in failing)
        )

    def _documented(self, cell: Cell, saver: Release, loader: Release) -> Documented:
        """Return the documented outcome, which is the same for all cells of the same bands."""
        if not self._plan.scenarios[cell.scenario].documented:
            return UNDOCUMENTED
        place = cell.variant, self._bands[saver.name], self._bands[loader.name]
        found = self._documented_by_bands.get(place)
        if found is None:
            found = self._documented_by_bands[place] = self._documentation.documented(
                cell.variant, saver, loader
            )
        return found

    def _compare(
        self,
        cell: Cell,
        documented: Documented,
        saved: Known[Save],
        loaded: Known[Load],
        failing: tuple[ControlName, ...],
    ) -> JudgedCell:
        save, load = saved.records[0], loaded.records[0]
        result = self._evidence.result(save, load)
        deviations = result.deviations(documented.outcome)
        verdict, used = self._decide(cell, documented, deviations, load.stage, load.error)
        return JudgedCell(
            cell=cell,
            documented=documented,
            verdict=verdict,
            outcome=result.outcome,
            after_load=result.after_load,
            result=result,
            note="; ".join((*save.flaws, *result.flaws)),
            controls=failing,
            entries=used,
            save=save,
            load=load,
            save_live=saved.live,
            load_live=loaded.live,
        )

    def _decide(
        self,
        cell: Cell,
        documented: Documented,
        deviations: Sequence[Deviation],
        stage: Stage,
        error: Failure | None,
    ) -> tuple[Verdict, tuple[str, ...]]:
        """Return the verdict on a cell, and the ids of the ledger entries that it rests on."""
        if documented.outcome == Undocumented.UNDOCUMENTED:
            return Verdict.UNDOCUMENTED, ()
        return excused(deviations, self._matching.get(cell, ()), stage, error)

    def _without_checkpoint(
        self, cell: Cell, documented: Documented, saved: Known[Save]
    ) -> JudgedCell:
        """Return the verdict on a cell whose saver raised an exception.

        It is no load that failed, and never the error that the FAQ documents.
        """
        save = saved.records[0]
        verdict, used = self._decide(cell, documented, [Deviation.ERROR], Stage.SAVE, save.error)
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

    # Saves and ledger entries.

    def _save_checks(self) -> list[SaveCheck]:
        checks = []
        for scenario in self._plan.scenarios:
            for saver in self._plan.savers:
                saved = self._evidence.save(scenario, saver)
                if isinstance(saved, Known) and saver.name in self._plan.savers_of[scenario]:
                    checks.append(self._save_check(scenario, saver, saved.records[0]))
        return checks

    def _save_check(self, scenario: str, saver: Release, save: Save) -> SaveCheck:
        documented = self._documented_key(scenario, saver)
        if save.error:
            note = save.error.line
            return SaveCheck(scenario, saver.name, documented, "none", True, save.outcome, note)
        keys = {state_key(part.path) for part in save.attention().values()}
        observed = ", ".join(sorted(keys)) or "none"
        conforms = documented == Undocumented.UNDOCUMENTED.value or (
            all(key.endswith(documented) for key in keys) and bool(keys) == (documented != "none")
        )
        note = "; ".join(save.flaws)
        return SaveCheck(scenario, saver.name, documented, observed, conforms, save.outcome, note)

    def _documented_key(self, scenario: str, saver: Release) -> str:
        """Return the key that the FAQ documents for the attention's state, or a word for none."""
        sized = self._plan.scenarios[scenario]
        if not sized.documented:
            return Undocumented.UNDOCUMENTED.value
        key = self._documentation.band(saver).saves_to or "none"
        return sized.attention_key(key)

    def _entry_checks(
        self, verdicts: Sequence[JudgedCell], checks: Sequence[ControlCheck]
    ) -> Iterator[EntryCheck]:
        seen: dict[str, list[Verdict]] = {entry.id: [] for entry in self._entries}
        for verdict in verdicts:
            for entry in self._matching.get(verdict.cell, ()):
                seen[entry.id].append(verdict.verdict)
        for check in checks:
            loader = self._plan.releases[check.release]
            for entry in controls.matching(self._entries, check.scenario, loader, check.control):
                seen[entry.id].append(check.verdict)
        planned = self._plan.scenarios.keys()
        for entry in self._entries:
            if planned.isdisjoint(entry.scenarios):
                continue  # What no scenario of the plan could show is not unused.
            found = seen[entry.id]
            yield EntryCheck(entry, self._state(entry, found), len(found))

    def _state(self, entry: LedgerEntry, verdicts: Sequence[Verdict]) -> EntryState:
        if entry.expires <= self._today:
            return EntryState.EXPIRED
        if not verdicts:
            return EntryState.UNUSED
        return EntryState.STALE if Verdict.CONFORMS in verdicts else EntryState.USED


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


def _absent(cell: Cell, documented: Documented, absent: Absent) -> JudgedCell:
    return JudgedCell(
        cell=cell,
        documented=documented,
        verdict=absent.kind.verdict,
        outcome=absent.kind,
        note=absent.why,
        detail=absent.detail,
        lacking=absent.lacking,
    )
