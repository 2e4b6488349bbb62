"""Judge evidence: a pure function of evidence, documentation, ledger and date."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Iterator, Sequence

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
    Ruling,
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


_Place = tuple[str, str, str]
"""Scenario, variant and loader."""
_Savers = list[tuple[LedgerEntry, set[str]]]
"""Ledger entries, each with the names of the savers that it speaks of."""


def _place(cell: Cell) -> _Place:
    return cell.scenario, cell.variant, cell.loaded_by


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
        self._savers_of: dict[str, dict[str, tuple[Release, Save | None, str]]] = {}
        self._under: dict[str, list[Verdict]] = {entry.id: [] for entry in entries}
        self._bands = {
            name: documentation.band(release).name for name, release in index.plan.releases.items()
        }
        self._documented_by_bands: dict[tuple[str, str, str], Documented] = {}

    def all(self) -> Judgement:
        checks = tuple(controls.checks(self._evidence, self._entries))
        self._controls: dict[tuple[str, str], list[ControlCheck]] = {}
        for check in checks:
            self._controls.setdefault((check.scenario, check.release), []).append(check)
        verdicts = tuple(self._verdicts())
        return Judgement(
            self._plan,
            verdicts,
            tuple(self._save_checks()),
            checks,
            tuple(self._entry_checks(checks)),
            self._today,
        )

    # One cell.

    def _verdicts(self) -> Iterator[JudgedCell]:
        for place, cells in itertools.groupby(self._plan.cells, key=_place):
            yield from self._judged(place, cells)

    def _judged(self, place: _Place, cells: Iterable[Cell]) -> Iterator[JudgedCell]:
        """Yield the verdicts on cells of one scenario, variant and loader."""
        scenario, variant, loader = place
        matching = self._matching.get(place, ())
        documented = self._plan.scenarios[scenario].documented
        savers = self._savers(scenario)
        # Savers of one state are many, and make no difference to the loader.
        rulings: dict[tuple[object, ...], Ruling] = {}
        for cell in cells:
            saver, save, state = savers[cell.saved_by]
            told = self._documented(variant, saver, loader) if documented else UNDOCUMENTED
            entries = [entry for entry, savers in matching if cell.saved_by in savers]
            alike = state, id(told), *map(id, entries)
            ruling = rulings.get(alike)
            if ruling is None:
                ruling = rulings[alike] = self._ruling(cell, told, entries)
            for entry in entries:
                self._under[entry.id].append(ruling.verdict)
            there = isinstance(ruling.outcome, Outcome)
            yield JudgedCell(cell, save if there else None, ruling)

    def _savers(self, scenario: str) -> dict[str, tuple[Release, Save | None, str]]:
        """Return the savers of a scenario by name, each with its save, and what is alike in it."""
        if scenario not in self._savers_of:
            found = self._savers_of[scenario] = {}
            for saver in self._plan.saves(scenario):
                saved = self._evidence.save(scenario, saver)
                save = saved.records[0] if isinstance(saved, Known) else None
                found[saver.name] = saver, save, self._evidence.alike(scenario, saver)
        return self._savers_of[scenario]

    def _ruling(self, cell: Cell, documented: Documented, entries: Sequence[LedgerEntry]) -> Ruling:
        saver, loader = self._plan.releases[cell.saved_by], self._plan.releases[cell.loaded_by]
        saved = self._evidence.save(cell.scenario, saver)
        if isinstance(saved, Absent):
            return _absent(documented, saved)
        if saved.records[0].outcome == SaveOutcome.ERROR:
            return self._without_checkpoint(entries, documented, saved)
        loaded = self._evidence.load(cell.scenario, cell.variant, saved, saver, loader)
        if isinstance(loaded, Absent):
            return _absent(documented, loaded)
        known = self._controls.get((cell.scenario, cell.loaded_by), [])
        failing = [check for check in known if not check.good]
        for check in failing:
            if isinstance(check.observed, Absence):
                gap = check.observed == Absence.INCONCLUSIVE
                kind = Absence.INCONCLUSIVE if gap else Absence.INFRA
                absent = Absent(kind, check.sentence, lacking=check.lacking)
                return _absent(documented, absent)
        return self._compare(
            entries, documented, saved, loaded, tuple(check.control for check in failing)
        )

    def _documented(self, variant: str, saver: Release, loader: str) -> Documented:
        """Return the documented outcome, which is the same for all cells of the same bands."""
        place = variant, self._bands[saver.name], self._bands[loader]
        found = self._documented_by_bands.get(place)
        if found is None:
            found = self._documented_by_bands[place] = self._documentation.documented(
                variant, saver, self._plan.releases[loader]
            )
        return found

    def _compare(
        self,
        entries: Sequence[LedgerEntry],
        documented: Documented,
        saved: Known[Save],
        loaded: Known[Load],
        failing: tuple[ControlName, ...],
    ) -> Ruling:
        save, load = saved.records[0], loaded.records[0]
        result = self._evidence.result(save, load)
        deviations = result.deviations(documented.outcome)
        verdict, used = _decide(entries, documented, deviations, load.stage, load.error)
        return Ruling(
            documented=documented,
            verdict=verdict,
            outcome=result.outcome,
            after_load=result.after_load,
            result=result,
            note="; ".join((*save.flaws, *result.flaws)),
            controls=failing,
            entries=used,
            load=load,
            save_live=saved.live,
            load_live=loaded.live,
        )

    def _without_checkpoint(
        self, entries: Sequence[LedgerEntry], documented: Documented, saved: Known[Save]
    ) -> Ruling:
        """Return the verdict on a cell whose saver raised an exception.

        It is no load that failed, and never the error that the FAQ documents.
        """
        error = saved.records[0].error
        verdict, used = _decide(entries, documented, [Deviation.ERROR], Stage.SAVE, error)
        return Ruling(
            documented=documented,
            verdict=verdict,
            outcome=Outcome.ERROR,
            entries=used,
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

    def _entry_checks(self, checks: Sequence[ControlCheck]) -> Iterator[EntryCheck]:
        for check in checks:
            loader = self._plan.releases[check.release]
            for entry in controls.matching(self._entries, check.scenario, loader, check.control):
                self._under[entry.id].append(check.verdict)
        planned = self._plan.scenarios.keys()
        for entry in self._entries:
            if planned.isdisjoint(entry.scenarios):
                continue  # What no scenario of the plan could show is not unused.
            found = self._under[entry.id]
            yield EntryCheck(entry, self._state(entry, found), len(found))

    def _state(self, entry: LedgerEntry, verdicts: Sequence[Verdict]) -> EntryState:
        if entry.expires <= self._today:
            return EntryState.EXPIRED
        if not verdicts:
            return EntryState.UNUSED
        return EntryState.STALE if Verdict.CONFORMS in verdicts else EntryState.USED


def _decide(
    entries: Sequence[LedgerEntry],
    documented: Documented,
    deviations: Sequence[Deviation],
    stage: Stage,
    error: Failure | None,
) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict on a cell, and the ids of the ledger entries that it rests on.

    :param entries: those that the cell falls under.
    """
    if documented.outcome == Undocumented.UNDOCUMENTED:
        return Verdict.UNDOCUMENTED, ()
    return excused(deviations, entries, stage, error)


def _matching(entries: Sequence[LedgerEntry], plan: Plan) -> dict[_Place, _Savers]:
    """Return ledger entries by scenario, variant and loader, with the names of their savers."""
    found: dict[_Place, _Savers] = {}
    for entry in (entry for entry in entries if entry.control is None):
        savers = {release.name for release in plan.savers if entry.saves(release)}
        loaders = [release.name for release in plan.loaders if entry.loads(release)]
        for place in itertools.product(entry.scenarios, entry.variants, loaders):
            found.setdefault(place, []).append((entry, savers))
    return found


def _absent(documented: Documented, absent: Absent) -> Ruling:
    return Ruling(
        documented=documented,
        verdict=absent.kind.verdict,
        outcome=absent.kind,
        note=absent.why,
        detail=absent.detail,
        lacking=absent.lacking,
    )
