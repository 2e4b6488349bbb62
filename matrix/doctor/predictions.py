"""What each release does with a checkpoint, predicted from evidence.

Evidence is found by saver and scenario: the releases that can have written the checkpoint,
and the scenario that it resembles.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from matrix.catalogue import scenarios
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import REWRITE
from matrix.catalogue.words import Absence, AfterLoad, Lane, Outcome, Word
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.words import StateContainer
from matrix.doctor.resemblance import NO_STATE, nothing_to_lose, scenario_of
from matrix.judge import judge, ledger
from matrix.judge.judgement import JudgedCell
from matrix.plan.cells import Plan, plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.store import Store

LANE = Lane.CPU
_LOADING = {
    Outcome.LOADED: "",
    Outcome.NONE: "this release has no FP8 attention metadata",
    Outcome.DEFAULTS: "the attention starts at defaults; the checkpoint holds no others",
}
_ByPair = Mapping[tuple[str, str], Mapping[str, JudgedCell]]
"""Judged cells by saver and loader, then by variant."""


class LoadStatus(Word):
    """What a release does with a checkpoint."""

    LOADS = "loads"
    """It loads it with its FP8 attention metadata, or there was none to lose."""
    FROZEN = "frozen"
    """It loads metadata that no later step updates."""
    RESETS = "resets"
    """It loads it, and silently resets the metadata to defaults."""
    FAILS = "fails"
    """It raises an exception."""
    DEPENDS = "depends"
    """That depends on which of the possible savers wrote it."""
    UNKNOWN = "unknown"
    """No evidence covers it."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What one release does with a checkpoint."""

    release: str
    status: LoadStatus
    detail: str = ""
    """The error to expect, or a remark."""
    step: str = ""
    """What makes it load, as a sentence; empty where nothing is needed or known."""
    variant: str = ""
    """The variant in which that was observed."""
    opt_in: str | None = None
    """Environment variable to set for the load."""

    @property
    def harm(self) -> bool:
        """Whether it fails, or what it loads differs from what the checkpoint holds."""
        return self.status in (LoadStatus.FAILS, LoadStatus.RESETS, LoadStatus.FROZEN)


class Predictor:
    """Predicts what releases do with one checkpoint.

    :param savers: the releases that can have written it.
    :param store: evidence in addition to what is recorded, or None.
    """

    def __init__(
        self,
        contents: Contents,
        savers: Sequence[Release],
        documentation: Documentation,
        store: Store | None,
    ) -> None:
        self._containers = {state.container for state in contents.states}
        self._documentation = documentation
        self._store = store
        self._scenario = scenario_of(contents)
        self._lossless = nothing_to_lose(contents)
        self._attention = any(state.attention for state in contents.states)
        self._entries = {entry.id: entry for entry in ledger.load()}
        self._savers = self._distinct(savers) if self._scenario and savers else []

    def all(self, loaders: Iterable[Release]) -> tuple[Prediction, ...]:
        """Return one prediction for each release."""
        loaders = list(loaders)
        if self._savers:
            judged = self._judged(loaders)
            return tuple(self._predict(loader, judged) for loader in loaders)
        why = "no release of the catalogue writes such a checkpoint"
        if self._scenario is None:
            why = "it holds no extra states"
        return tuple(Prediction(loader.name, LoadStatus.UNKNOWN, why) for loader in loaders)

    def _distinct(self, savers: Sequence[Release]) -> list[Release]:
        """Return the newest of each group of savers that write identical states."""
        if self._scenario == NO_STATE and not self._attention:
            band = self._documentation.band
            savers = [r for r in savers if band(r).saves_to is None] or savers
        plain = {"plain": scenarios.variants()["plain"]}
        sized = {self._measured: scenarios.load()[self._measured]}
        index = self._index(
            plan_cells(self._documentation, sized, plain, savers, savers, lane=LANE)
        )
        groups: dict[str, Release] = {}
        for release in savers:
            known = index.save(self._measured, release)
            groups[known.records[0].state_digest if known else release.name] = release
        return list(groups.values())

    @property
    def _measured(self) -> str:
        """The scenario whose evidence is used; none covers checkpoints without any state."""
        return "attention-only" if self._scenario == NO_STATE else str(self._scenario)

    def _index(self, plan: Plan) -> EvidenceIndex:
        return EvidenceIndex(plan, self._store, recorded.evidence(LANE))

    def _judged(
        self, loaders: Sequence[Release]
    ) -> Mapping[tuple[str, str], dict[str, JudgedCell]]:
        """Return the judged cells by saver and loader, then by variant."""
        sized = {self._measured: scenarios.load()[self._measured]}
        plan = plan_cells(
            self._documentation, sized, scenarios.variants(), self._savers, loaders, lane=LANE
        )
        # Expiry dates matter to gates only; here causes and advice of expired entries count too.
        today = datetime.date.min
        entries = list(self._entries.values())
        judged = judge.judge(self._index(plan), self._documentation, entries, today)
        by_pair: dict[tuple[str, str], dict[str, JudgedCell]] = defaultdict(dict)
        for each in judged.verdicts:
            by_pair[each.cell.saved_by, each.cell.loaded_by][each.cell.variant] = each
        return by_pair

    def _predict(self, loader: Release, judged: _ByPair) -> Prediction:
        by_saver = {
            saver.name: self._one(loader, judged[saver.name, loader.name]) for saver in self._savers
        }
        distinct = list(dict.fromkeys(by_saver.values()))
        if self._scenario == NO_STATE:
            # All of these savers save a module without state as this checkpoint has it.
            distinct = [p for p in distinct if p.status != LoadStatus.UNKNOWN] or distinct
        if len({(p.status, p.step, p.variant) for p in distinct}) == 1:
            return distinct[0]
        detail = "; ".join(f"saved by {name}: {p.status.value}" for name, p in by_saver.items())
        step = "Name the saver with --saved-by"
        return Prediction(loader.name, LoadStatus.DEPENDS, detail, step)

    def _one(self, loader: Release, by_variant: Mapping[str, JudgedCell]) -> Prediction:
        plain = by_variant["plain"]
        if self._scenario == NO_STATE:
            return self._without_state(loader, plain)
        status, detail = self._status(plain)
        if status in (LoadStatus.LOADS, LoadStatus.UNKNOWN):
            return Prediction(loader.name, status, detail)
        rewrites = (variant for variant in by_variant if variant.startswith(REWRITE))
        for variant in ("trusted", "remapped", *rewrites):
            if variant in by_variant and self._mends(by_variant[variant]):
                return _mended(loader, status, detail, variant)
        return Prediction(loader.name, status, detail, self._advice(plain))

    def _status(self, judged: JudgedCell) -> tuple[LoadStatus, str]:
        match judged.outcome:
            case Outcome.ERROR:
                assert judged.load is not None and judged.error is not None
                message = " ".join(judged.error.message.split())
                stage = judged.load.stage.value
                return LoadStatus.FAILS, f"{judged.error.type} at {stage}: {message}"
            case Outcome.LOADED if judged.after_load == AfterLoad.FROZEN:
                detail = "the scales and amaxes load, and no later step updates them"
                return LoadStatus.FROZEN, detail
            case Outcome.DEFAULTS if not self._lossless:
                return LoadStatus.RESETS, "the attention's scales become 1, its amaxes 0"
            case Outcome.LOADED | Outcome.DEFAULTS | Outcome.NONE:
                return LoadStatus.LOADS, _LOADING[judged.outcome]
            case Outcome.PARTIAL | Absence():
                return LoadStatus.UNKNOWN, judged.note or judged.outcome.value
            case _:
                assert_never(judged.outcome)

    def _mends(self, judged: JudgedCell) -> bool:
        """Return whether a variant loads the metadata and later steps update it."""
        if self._lossless and judged.outcome == Outcome.DEFAULTS:
            return True
        return judged.outcome == Outcome.LOADED and judged.after_load == AfterLoad.UPDATES

    def _advice(self, judged: JudgedCell) -> str:
        return " ".join(self._entries[name].advice for name in judged.entries)

    def _without_state(self, loader: Release, plain: JudgedCell) -> Prediction:
        """Predict for a checkpoint without FP8 state, from a scenario whose attention has some.

        What fails there because of a key, or of how modules without state are saved, fails
        here too. What loads there loads here. Nothing is known of other failures.
        """
        status, detail = self._status(plain)
        if status != LoadStatus.FAILS:
            why = "there is no FP8 state to lose"
            return Prediction(loader.name, LoadStatus.LOADS, why)
        assert plain.error is not None
        certain = (
            (plain.unexpected and self._attention)
            or plain.error.type == "EOFError"
            or (loader.opt_in and self._containers == {StateContainer.BYTES_IO})
        )
        if not certain:
            why = "no scenario is without any FP8 state"
            return Prediction(loader.name, LoadStatus.UNKNOWN, why)
        opt_in = None if plain.unexpected else (loader.opt_in or None)
        return Prediction(loader.name, status, detail, self._advice(plain), "", opt_in)


def _mended(loader: Release, status: LoadStatus, detail: str, variant: str) -> Prediction:
    steps = []
    if variant != "trusted":
        steps.append(f"run te-matrix remap IN OUT --to {loader.name}")
    opt_in = loader.opt_in if variant == "trusted" or variant.startswith(REWRITE) else None
    if opt_in:
        steps.append(f"set {opt_in}=1 for the load, if you trust the file")
    step = ", then ".join(steps)
    return Prediction(loader.name, status, detail, step[:1].upper() + step[1:], variant, opt_in)
