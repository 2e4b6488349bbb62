"""Judge the controls: what every loading release does with its own save, sound or damaged."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import assert_never

from matrix.catalogue.releases import Release
from matrix.catalogue.words import (
    ControlName,
    Deviation,
    Outcome,
    Requirement,
    RestState,
    SaveOutcome,
    Stage,
    Verdict,
)
from matrix.judge.evidence import Absent, UsableEvidence
from matrix.judge.judgement import ControlCheck
from matrix.judge.ledger import LedgerEntry, excused
from matrix.judge.outcomes import LoadResult
from matrix.plan.cells import Control, controls_of
from matrix.plan.evidence_index import Known, control_variant


def checks(evidence: UsableEvidence, entries: Sequence[LedgerEntry]) -> Iterator[ControlCheck]:
    """Yield the controls of a plan, in every scenario.

    :param entries: the ledger.
    """
    for scenario, loader in evidence.plan.controls():
        for control in _possible(evidence, scenario, loader):
            known = matching(entries, scenario, loader, control.name)
            yield _check(evidence, known, scenario, loader, control)


def matching(
    entries: Sequence[LedgerEntry], scenario: str, loader: Release, control: ControlName
) -> list[LedgerEntry]:
    """Return the ledger entries that match a control."""
    return [
        entry
        for entry in entries
        if entry.control == control and scenario in entry.scenarios and entry.loads(loader)
    ]


def _possible(evidence: UsableEvidence, scenario: str, loader: Release) -> Sequence[Control]:
    """Return the controls that a loader's save allows: of one that raised, the first alone."""
    saved = evidence.save(scenario, loader)
    failed = isinstance(saved, Known) and saved.records[0].outcome == SaveOutcome.ERROR
    possible = controls_of(evidence.plan.scenarios[scenario])
    return possible[:1] if failed else possible


def _check(
    evidence: UsableEvidence,
    entries: Sequence[LedgerEntry],
    scenario: str,
    loader: Release,
    control: Control,
) -> ControlCheck:
    check = functools.partial(ControlCheck, scenario, loader.name, control.name)
    saved = evidence.save(scenario, loader)
    if isinstance(saved, Absent):
        verdict = saved.kind.verdict
        return check(control.required, saved.kind, verdict, saved.why, lacking=saved.lacking)
    save = saved.records[0]
    required = control.required
    attends = evidence.plan.scenarios[scenario].attends
    judged = [part for part in save.parts if part.attention or not attends]
    if required == Requirement.LOADED and not any(part.tensors for part in judged):
        required = Requirement.NONE
    if save.error:
        verdict, used = excused([Deviation.ERROR], entries, Stage.SAVE, save.error)
        return check(required, Outcome.ERROR, verdict, save.error.line, used)
    variant = control_variant(control, loader, evidence.plan.scenarios[scenario])
    loaded = evidence.load(scenario, variant, saved, loader, loader)
    if isinstance(loaded, Absent):
        shown_only = required == Requirement.SHOWN_ONLY
        verdict = Verdict.CONFORMS if shown_only else loaded.kind.verdict
        return check(required, loaded.kind, verdict, loaded.why, lacking=loaded.lacking)
    load = loaded.records[0]
    result = evidence.result(save, load)
    deviations = [] if _meets(result, required) else _unmet(result, required)
    verdict, used = excused(deviations, entries, load.stage, load.error)
    flaws = load.error.line if load.error else "; ".join((*save.flaws, *result.flaws))
    return check(required, result.outcome, verdict, flaws if deviations else "", used)


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
        beside = (Deviation.FROZEN, Deviation.REST_FROZEN, Deviation.SPOILT)
        return [d for d in result.deviations(Outcome(required.value)) if d not in beside]
    return [Deviation(result.outcome.value)]
