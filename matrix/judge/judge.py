"""Judging: evidence, documentation, ledger and a date in; verdicts out. Nothing else."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence

from matrix.catalogue.faq import Documentation, Documented
from matrix.catalogue.releases import Release
from matrix.judge import outcomes
from matrix.judge.judgement import ABSENT, ControlCheck, EntryCheck, Judgement, SaveCheck, Verdict
from matrix.judge.ledger import Entry
from matrix.plan.cells import CONTROLS, Cell, Control, Plan
from matrix.plan.evidence_index import EvidenceIndex, Known, control_variant
from matrix.store.records import Attempt, Load, Save
from matrix.system.collector import gc_paused

_WORDS = {"gap": "inconclusive", "infra": "infra", "unavailable": "unavailable"}


def judge(
    index: EvidenceIndex,
    documentation: Documentation,
    entries: Sequence[Entry],
    today: datetime.date,
) -> Judgement:
    """Judge every cell of the index's plan.

    :param today: the date that ledger entries expire by.
    """
    with gc_paused():
        return _Judge(index, documentation, entries, today).all()


class _Judge:
    def __init__(
        self,
        index: EvidenceIndex,
        documentation: Documentation,
        entries: Sequence[Entry],
        today: datetime.date,
    ) -> None:
        self._index = index
        self._plan = index.plan
        self._documentation = documentation
        self._entries = entries
        self._today = today
        self._under = _under(entries, index.plan)
        self._bands = {
            name: documentation.band(release).name for name, release in index.plan.releases.items()
        }
        self._said: dict[tuple[str, str, str], Documented] = {}
        self._saved: dict[tuple[str, str], Known | _Absent] = {}
        self._attempts: dict[tuple[str, str], Sequence[Attempt]] = {}

    def all(self) -> Judgement:
        controls = [
            self._control(scenario, loader, control)
            for scenario in self._plan.scenarios
            for loader in self._plan.loaders
            for control in CONTROLS
        ]
        # Of several that failed the first is named: what comes later may follow from it.
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

    def _verdict(self, cell: Cell) -> Verdict:
        saver, loader = (self._plan.releases[n] for n in (cell.saved_by, cell.loaded_by))
        documented = self._documented(cell.variant, saver, loader)
        saved = self._save(cell.scenario, saver)
        if isinstance(saved, _Absent):
            return _absent(cell, documented, saved)
        loaded = self._load(cell.scenario, cell.variant, saved, saver, loader)
        if isinstance(loaded, _Absent):
            return _absent(cell, documented, loaded)
        if bad := self._bad.get((cell.scenario, cell.loaded_by)):
            return _absent(cell, documented, _Absent("infra", bad.sentence))
        return self._compare(cell, documented, saved, loaded)

    def _documented(self, variant: str, saver: Release, loader: Release) -> Documented:
        """Return what the FAQ says of a cell: the same of all cells of the same bands."""
        place = variant, self._bands[saver.name], self._bands[loader.name]
        found = self._said.get(place)
        if found is None:
            found = self._said[place] = self._documentation.says(variant, saver, loader)
        return found

    def _compare(self, cell: Cell, documented: Documented, saved: Known, loaded: Known) -> Verdict:
        save, load = saved.records[0], loaded.records[0]
        outcome, after = outcomes.outcome(save, load), outcomes.after_load(load)
        deviations = [] if outcome == documented.outcome else [outcome]
        deviations += ["frozen"] if after == "frozen" else []
        verdict, used = "conforms", tuple[str, ...]()
        if documented.outcome == "undocumented":
            verdict = "undocumented"
        elif deviations:
            verdict, used = self._excuse(cell, load, deviations)
        return Verdict(
            cell=cell,
            documented=documented,
            verdict=verdict,
            outcome=outcome,
            after_load=after,
            note=_why(outcome, save, load) if outcome == "partial" else "",
            entries=used,
            save=save,
            load=load,
            save_live=saved.live,
            load_live=loaded.live,
        )

    def _excuse(self, cell: Cell, load: Load, deviations: list[str]) -> tuple[str, tuple[str, ...]]:
        """Look the deviations of a cell up in the ledger: all of them, or none is excused."""
        used = []
        for deviation in deviations:
            entries = [
                entry.id
                for entry in self._under.get(cell, ())
                if entry.explains(deviation, load.stage, load.error)
            ]
            if not entries:
                return "deviates", ()
            used += sorted(entries)
        return "known-deviation", tuple(used)

    # What is known.

    def _save(self, scenario: str, saver: Release) -> Known | _Absent:
        found = self._saved.get((scenario, saver.name))
        if found is None:
            found = _usable(self._index.save(scenario, saver), self._tried(scenario, saver))
            self._saved[scenario, saver.name] = found
        return found

    def _tried(self, scenario: str, release: Release) -> Sequence[Attempt]:
        """Return the failed attempts at a release's save, which tell of its source, too."""
        place = scenario, release.name
        if place not in self._attempts:
            key = self._index.save_attempt_key(scenario, release)
            self._attempts[place] = self._index.attempts(key)
        return self._attempts[place]

    def _load(
        self, scenario: str, variant: str, saved: Known, saver: Release, loader: Release
    ) -> Known | _Absent:
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
        if required == "loaded" and not supports:
            required = "none"
        good = {
            "shown only": True,
            "not loaded": observed not in ("loaded", *ABSENT),
        }.get(required, observed == required)
        return ControlCheck(
            scenario, loader.name, control.name, required, observed, good, "" if good else note
        )

    def _control_outcome(self, scenario: str, loader: Release, control: Control) -> tuple[str, str]:
        """Return the outcome, or the word for having none, and the reason."""
        saved = self._save(scenario, loader)
        if isinstance(saved, _Absent):
            return saved.word, saved.why
        variant = control_variant(control, loader)
        loaded = self._load(scenario, variant, saved, loader, loader)
        if isinstance(loaded, _Absent):
            return loaded.word, loaded.why
        save, load = saved.records[0], loaded.records[0]
        outcome = outcomes.outcome(save, load)
        return outcome, _why(outcome, save, load)

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
        keys = {f"{site.path}._extra_state" for site in save.attention().values()}
        observed = ", ".join(sorted(keys)) or "none"
        conforms = all(key.endswith(documented) for key in keys) and bool(keys) == (
            documented != "none"
        )
        return SaveCheck(scenario, saver.name, documented, observed, conforms)

    def _entry_checks(self, verdicts: Sequence[Verdict]) -> Iterator[EntryCheck]:
        seen: dict[str, list[str]] = {entry.id: [] for entry in self._entries}
        for verdict in verdicts:
            for entry in self._under.get(verdict.cell, ()):
                seen[entry.id].append(verdict.verdict)
        for entry in self._entries:
            found = seen[entry.id]
            yield EntryCheck(entry, self._state(entry, found), len(found))

    def _state(self, entry: Entry, verdicts: Sequence[str]) -> str:
        if entry.expires <= self._today:
            return "expired"
        if not verdicts:
            return "unused"
        return "stale" if "conforms" in verdicts else "used"


def _why(outcome: str, save: Save, load: Load) -> str:
    """Say in a line what an outcome alone does not: an error's message, what is not whole."""
    if load.error:
        return f"{load.error.type}: {' '.join(load.error.message.split())}"
    return "; ".join(outcomes.flaws(save, load)) if outcome == "partial" else ""


def _under(entries: Sequence[Entry], plan: Plan) -> dict[Cell, list[Entry]]:
    """Return the ledger entries that each planned cell falls under."""
    found: dict[Cell, list[Entry]] = {}
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
    """Why there is no outcome."""

    word: str
    why: str
    detail: str = ""


def _usable(known: Known | None, attempts: Sequence[Attempt]) -> Known | _Absent:
    """Choose between what is known and what went wrong.

    Live evidence outranks every failed attempt. Recorded evidence stands in only
    where the source was unavailable or nothing was tried, never for a crash.
    """
    if known is not None and known.conflict:
        seen = sorted({record.observed()[:8] for record in known.records})
        return _Absent("infra", f"records under one key disagree: {', '.join(seen)}")
    broken = [attempt for attempt in attempts if attempt.kind != "unavailable"]
    if known is not None and (known.live or not broken):
        return known
    if attempts:
        last = (broken or attempts)[-1]
        return _Absent(_WORDS[last.kind], last.message, last.detail)
    return _Absent("not-run", "nothing was run for it, and nothing is recorded")


def _absent(cell: Cell, documented: Documented, absent: _Absent) -> Verdict:
    return Verdict(
        cell=cell,
        documented=documented,
        verdict=absent.word,
        outcome=absent.word,
        note=absent.why,
        detail=absent.detail,
    )
