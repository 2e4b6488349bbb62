"""Explain one pair of releases: what is documented and observed, the cause, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.words import AfterLoad, Outcome, RestState, Weights, outcome_text
from matrix.judge.judgement import JudgedCell, Judgement
from matrix.judge.ledger import LedgerEntry

OUTCOME_MEANINGS = {
    "loaded": "loads, FP8 attention metadata intact",
    "loaded (frozen)": "loads, but the metadata is dead: no later step updates it",
    "defaults": "loads, FP8 attention metadata silently at its defaults",
    "none": "loads; the loader has no FP8 attention metadata",
    "error": "fails",
    "partial": "loads, FP8 attention metadata neither intact nor default",
}
"""Each outcome as it is shown, and what it means for the user."""

_REST = {
    RestState.LOST: "other parts lost what the checkpoint held for them",
    RestState.FROZEN: "no later step updates the metadata of the other parts",
}


def meaning(verdict: JudgedCell) -> str:
    """Return what an outcome means for the user; empty where there is none."""
    if not isinstance(verdict.outcome, Outcome):
        return ""
    result = verdict.result
    base = OUTCOME_MEANINGS.get(outcome_text(verdict.outcome, verdict.after_load))
    parts = [base or OUTCOME_MEANINGS[verdict.outcome.value]]
    if result and result.resized:
        parts.append("the amax histories cut or extended to the loader's length")
    if result and result.weights == Weights.CHANGED:
        parts.append("weights are not the checkpoint's")
    if result and verdict.after_load != AfterLoad.FROZEN and result.rest_state in _REST:
        parts.append(_REST[result.rest_state])
    return "; ".join(parts)


def page(
    judgement: Judgement, documentation: Documentation, entries: Sequence[LedgerEntry]
) -> Iterator[str]:
    """Yield the explanation of the plan's only pair of releases as lines of text.

    :param entries: the ledger.
    """
    saver, loader = judgement.plan.savers[0], judgement.plan.loaders[0]
    yield f"Saved by {saver.name}, loaded by {loader.name}"
    yield ""
    sentences = {v.documented.sentence for v in judgement.verdicts if v.documented.sentence}
    band = documentation.band
    yield f"The FAQ on {band(loader).name} loading {band(saver).name}:"
    yield from (f"  “{sentence}”" for sentence in sorted(sentences) or ["(nothing)"])
    yield ""
    for verdict in judgement.verdicts:
        yield from _cell(verdict)
    yield from _causes(judgement, entries)
    yield from _fixes(judgement)


def _cell(verdict: JudgedCell) -> Iterator[str]:
    cell = verdict.cell
    absent = f"no outcome ({verdict.outcome.value}): {verdict.note}"
    means = meaning(verdict) or absent
    yield f"{cell.scenario}, {cell.variant}: {means}  [{verdict.verdict.value}]"
    if verdict.error:
        message = " ".join(verdict.error.message.split())[:300]
        yield f"    {verdict.error.type} at {_stage(verdict)}: {message}"
        if verdict.unexpected:
            yield f"    unexpected keys: {', '.join(verdict.unexpected)}"
        if verdict.same_reason is False:
            yield f"    not the documented reason ({verdict.documented.reason})"
    if verdict.load and not verdict.live:
        provenance = verdict.load.provenance
        day = provenance.recorded_at[:10]
        yield f"    recorded {day}, lane {verdict.load.lane.value}, torch {provenance.torch}"


def _fixes(judgement: Judgement) -> Iterator[str]:
    """Yield the observed way to load each scenario in which a plain load fails."""
    by_scenario: dict[str, dict[str, str]] = {}
    for verdict in judgement.verdicts:
        by_scenario.setdefault(verdict.cell.scenario, {})[verdict.cell.variant] = _result(verdict)
    lines = [
        f"  {scenario}: {fix}"
        for scenario, outcomes in by_scenario.items()
        if (fix := _fix(outcomes, judgement.plan.loaders[0]))
    ]
    if lines:
        yield ""
        yield "What makes it work, as seen:"
        yield from lines


def _result(verdict: JudgedCell) -> str:
    return f"{verdict.outcome.value}, {verdict.after_load.value}"


def _fix(outcomes: dict[str, str], loader: Release) -> str:
    good = "loaded, updates"
    if outcomes.get("plain") in (good, "none, untested"):
        return ""
    if outcomes.get("trusted") == good:
        return f"set {loader.opt_in}=1 for the load, if you trust the file"
    if any(seen == good for name, seen in outcomes.items() if name.startswith("rewrite:")):
        more = f", and {loader.opt_in}=1 set for the load" if loader.opt_in else ""
        return f"te-matrix remap IN OUT --to {loader.name}{more}"
    return "nothing that was tried"


def _stage(verdict: JudgedCell) -> str:
    return verdict.stage.value if verdict.stage else ""


def _causes(judgement: Judgement, entries: Sequence[LedgerEntry]) -> Iterator[str]:
    used = {name for verdict in judgement.verdicts for name in verdict.entries}
    for entry in entries:
        if entry.id in used:
            yield ""
            yield f"Why ({entry.id}): {entry.cause}"
            yield f"What to do: {entry.advice}"
            yield f"Reference: {entry.reference}"
