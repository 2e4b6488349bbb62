"""What each release does with a checkpoint, by what the matrix saw of ones like it.

The matrix knows checkpoints by saver and scenario. A checkpoint is taken for those of the
releases that can have written it, in the scenario that it resembles (:func:`scenario_of`).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from typing import Literal

from matrix.catalogue import scenarios
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.checkpoint.scan import Scan
from matrix.judge import judge, ledger
from matrix.judge.judgement import JudgedCell
from matrix.judge.ledger import LedgerEntry
from matrix.plan import cells
from matrix.plan.cells import plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.store import Store

Status = Literal["loads", "frozen", "resets", "fails", "depends", "unknown"]
LANE = "cpu"
_NO_STATE = "no-state"
_LOADING = {
    "loaded": "",
    "none": "this release has no FP8 attention metadata",
    "defaults": "the attention starts at defaults; the checkpoint holds no others",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """What one release does with the checkpoint.

    :param status: ``loads``: with its FP8 attention metadata, or with nothing to lose;
        ``frozen``: with metadata that no later step updates; ``resets``: silently at
        defaults; ``fails``; ``depends``: on which of the possible savers it was;
        ``unknown``: nothing like it was measured.
    :param detail: the error to expect, or a remark.
    :param step: what makes it work, in words; empty where nothing is needed or known.
    :param variant: the matrix's variant in which that was seen.
    :param opt_in: environment variable to set for the load.
    """

    release: str
    status: Status
    detail: str = ""
    step: str = ""
    variant: str = ""
    opt_in: str | None = None

    @property
    def harm(self) -> bool:
        """Whether it fails, or loads to something else than what the checkpoint holds."""
        return self.status in ("fails", "resets", "frozen")


def scenario_of(scan: Scan) -> str | None:
    """Return the scenario that a checkpoint resembles.

    ``fp8-weights``: it holds quantized weights. ``attention-only``: some module was saved
    without FP8 state. ``autocast``: every module has some. ``no-state``: none has any,
    which the matrix has no scenario for. None: it holds no extra states at all.
    """
    if not scan.states:
        return None
    if scan.weights:
        return "fp8-weights"
    holding = [state.holds != "nothing" for state in scan.states]
    if not any(holding):
        return _NO_STATE
    return "autocast" if all(holding) else "attention-only"


def nothing_to_lose(scan: Scan) -> bool:
    """Tell whether the attention's metadata is all at its defaults, or there is none."""
    return all(state.holds in ("nothing", "defaults") for state in scan.states if state.attention)


class Answers:
    """Looks a checkpoint up in the matrix's evidence.

    :param savers: the releases that can have written it.
    :param store: live evidence beside the recorded, or None.
    """

    def __init__(
        self,
        scan: Scan,
        savers: Sequence[Release],
        documentation: Documentation,
        store: Store | None,
    ) -> None:
        self._scan = scan
        self._documentation = documentation
        self._store = store
        self._scenario = scenario_of(scan)
        self._lossless = nothing_to_lose(scan)
        self._attention = any(state.attention for state in scan.states)
        self._entries = {entry.id: entry for entry in ledger.load()}
        self._savers = self._distinct(savers) if self._scenario else []

    def all(self, loaders: Iterable[Release]) -> tuple[Target, ...]:
        """Return what each of some releases does."""
        loaders = list(loaders)
        if not self._savers:
            why = (
                "it holds no extra states"
                if self._scenario is None
                else "no release of the catalogue writes such a checkpoint"
            )
            return tuple(Target(loader.name, "unknown", why) for loader in loaders)
        verdicts = self._judged(self._savers, loaders)
        return tuple(self._target(loader, verdicts) for loader in loaders)

    def _distinct(self, savers: Sequence[Release]) -> list[Release]:
        """Return the newest of each group of savers that write the very same state."""
        if self._scenario == _NO_STATE and not self._attention:
            band = self._documentation.band
            savers = [r for r in savers if band(r).saves_to is None] or savers
        index = (
            self._index(
                plan_cells(
                    self._documentation,
                    self._recipes,
                    {"plain": scenarios.variants()["plain"]},
                    savers,
                    savers,
                    lane=LANE,
                )
            )
            if savers
            else None
        )
        groups: dict[str, Release] = {}
        for release in savers:
            assert index is not None
            known = index.save(self._measured, release)
            groups[known.records[0].state_digest if known else release.name] = release
        return list(groups.values())

    @property
    def _measured(self) -> str:
        """The scenario looked up: one with modules without state stands in for no state."""
        return "attention-only" if self._scenario == _NO_STATE else str(self._scenario)

    @property
    def _recipes(self) -> dict[str, scenarios.SizedScenario]:
        return {self._measured: scenarios.load()[self._measured]}

    def _index(self, made: cells.Plan) -> EvidenceIndex:
        return EvidenceIndex(made, self._store, recorded.evidence(LANE))

    def _judged(
        self, savers: Sequence[Release], loaders: Sequence[Release]
    ) -> dict[tuple[str, str, str], JudgedCell]:
        made = plan_cells(
            self._documentation, self._recipes, scenarios.variants(), savers, loaders, lane=LANE
        )
        # The ledger's dates are a gate's business; here its causes and advice count.
        today = datetime.date.min
        judged = judge.judge(
            self._index(made), self._documentation, list(self._entries.values()), today
        )
        return {(v.cell.saved_by, v.cell.loaded_by, v.cell.variant): v for v in judged.verdicts}

    def _target(self, loader: Release, verdicts: dict[tuple[str, str, str], JudgedCell]) -> Target:
        answers = {
            saver.name: self._one(
                loader,
                {
                    variant: v
                    for (s, name, variant), v in verdicts.items()
                    if (s, name) == (saver.name, loader.name)
                },
            )
            for saver in self._savers
        }
        distinct = list(dict.fromkeys(answers.values()))
        if self._scenario == _NO_STATE:
            # They all save a module without state in the one way that the checkpoint has.
            distinct = [a for a in distinct if a.status != "unknown"] or distinct
        if len({(a.status, a.step, a.variant) for a in distinct}) == 1:
            return distinct[0]
        words = "; ".join(f"saved by {name}: {a.status}" for name, a in answers.items())
        return Target(loader.name, "depends", words, "Name the saver with --saved-by")

    def _one(self, loader: Release, by_variant: dict[str, JudgedCell]) -> Target:
        plain = by_variant["plain"]
        if self._scenario == _NO_STATE:
            return self._without_state(loader, plain)
        status, detail = self._status(plain)
        if status in ("loads", "unknown"):
            return Target(loader.name, status, detail)
        for variant in ("trusted", "remapped", *(v for v in by_variant if v.startswith("rewrite"))):
            verdict = by_variant.get(variant)
            if verdict is not None and self._mends(verdict):
                return _mended(loader, status, detail, variant)
        return Target(loader.name, status, detail, self._advice(plain))

    def _status(self, verdict: JudgedCell) -> tuple[Status, str]:
        match verdict.outcome, verdict.after_load:
            case "error", _:
                assert verdict.load is not None and verdict.error is not None
                message = " ".join(verdict.error.message.split())
                return "fails", f"{verdict.error.type} at {verdict.load.stage}: {message}"
            case "loaded", "frozen":
                return "frozen", "the scales and amaxes load, and no later step updates them"
            case "defaults", _ if not self._lossless:
                return "resets", "the attention's scales become 1, its amaxes 0"
        detail = _LOADING.get(verdict.outcome)
        return ("unknown", verdict.note or verdict.outcome) if detail is None else ("loads", detail)

    def _mends(self, verdict: JudgedCell) -> bool:
        """Tell whether a variant was seen to load everything and to go on updating it."""
        if self._lossless and verdict.outcome == "defaults":
            return True
        return verdict.outcome == "loaded" and verdict.after_load == "updates"

    def _advice(self, verdict: JudgedCell) -> str:
        entries: list[LedgerEntry] = [self._entries[name] for name in verdict.entries]
        return " ".join(entry.advice for entry in entries)

    def _without_state(self, loader: Release, plain: JudgedCell) -> Target:
        """Answer for a checkpoint without any FP8 state, from one whose attention has some.

        What fails there because of a key, or because of how a module without state is
        saved, fails here too; what loads there loads here. The rest was not measured.
        """
        status, detail = self._status(plain)
        if status != "fails":
            return Target(loader.name, "loads", "there is no FP8 state to lose")
        assert plain.error is not None
        containers = {state.kind for state in self._scan.states}
        certain = (
            (plain.unexpected and self._attention)
            or plain.error.type == "EOFError"
            or (loader.opt_in and containers == {"BytesIO"})
        )
        if not certain:
            return Target(loader.name, "unknown", "no scenario is without any FP8 state")
        step, opt_in = self._advice(plain), None
        if loader.opt_in and not plain.unexpected:
            opt_in = loader.opt_in
        return Target(loader.name, "fails", detail, step, "", opt_in)


def _mended(loader: Release, status: Status, detail: str, variant: str) -> Target:
    steps = []
    if variant != "trusted":
        steps.append(f"run te-matrix remap IN OUT --to {loader.name}")
    opt_in = loader.opt_in if variant == "trusted" or variant.startswith("rewrite") else None
    if opt_in:
        steps.append(f"set {opt_in}=1 for the load, if you trust the file")
    step = ", then ".join(steps)
    return Target(loader.name, status, detail, step[:1].upper() + step[1:], variant, opt_in)
