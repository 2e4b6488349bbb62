"""Explain one pair of releases: what is documented and observed, the cause, what to do."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.words import (
    AfterLoad,
    Deviation,
    Outcome,
    RestState,
    Stage,
    Verdict,
    Weights,
    outcome_text,
)
from matrix.doctor import symptoms
from matrix.judge import endings as endings_of
from matrix.judge import ways
from matrix.judge.endings import Ending
from matrix.judge.judgement import JudgedCell, Judgement
from matrix.judge.ledger import LedgerEntry
from matrix.report.cells import one_line
from matrix.report.places import together
from matrix.report.ways import told as told_way
from matrix.system.counting import counted

OUTCOME_MEANINGS = {
    "loaded": "loads, FP8 attention metadata intact",
    "loaded (frozen)": "loads, but the metadata is dead: no later step updates it",
    "defaults": "loads, FP8 attention metadata silently at its defaults",
    "none": "loads; the loader has no FP8 attention metadata",
    "error": "fails",
    "partial": "loads, FP8 attention metadata neither intact nor default",
}
"""Each outcome as it is shown, and what it means for the user."""

_MESSAGE = 1000
"""The most characters of an error's message that are shown."""

_UNSTEPPED = "loads, as far as can be seen: the loader lacks the recipe to go on with"

_REST = {
    RestState.LOST: "other parts lost what the checkpoint held for them",
    RestState.FROZEN: "no later step updates the metadata of the other parts",
}


def meaning(verdict: JudgedCell, *, attends: bool) -> str:
    """Return what an outcome means for the user; empty where there is none.

    :param attends: whether the module computes attention, so that the outcome is the attention's.
    """
    if not isinstance(verdict.outcome, Outcome):
        return ""
    result = verdict.result
    if verdict.load and not verdict.error and verdict.stage != Stage.FIRST_STEP:
        return _UNSTEPPED
    base = OUTCOME_MEANINGS.get(outcome_text(verdict.outcome, verdict.after_load))
    base = base or OUTCOME_MEANINGS[verdict.outcome.value]
    parts = [base if attends else base.replace("FP8 attention metadata", "FP8 metadata")]
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

    Scenarios and variants that end alike stand together, in the order of the scenarios' table,
    which begins with the FAQ's.

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
    yield from _endings(judgement)
    yield from _recorded(judgement)
    yield from _causes(judgement, entries)
    yield from _fixes(judgement)


def _endings(judgement: Judgement) -> Iterator[str]:
    alike: dict[tuple[str, ...], dict[Verdict, list[tuple[str, str]]]] = {}
    for verdict in judgement.verdicts:
        attends = judgement.plan.scenarios[verdict.cell.scenario].attends
        by_verdict = alike.setdefault(tuple(_ending(verdict, attends=attends)), {})
        by_verdict.setdefault(verdict.verdict, []).append(
            (verdict.cell.scenario, verdict.cell.variant)
        )
    for (means, *details), by_verdict in alike.items():
        yield means
        yield from (f"    {detail}" for detail in details)
        for word, where in by_verdict.items():
            yield f"    {word.value}: {together(where)}"


def _ending(verdict: JudgedCell, *, attends: bool) -> Iterator[str]:
    absent = f"no outcome ({verdict.outcome.value}): {one_line(verdict.note)}"
    means = meaning(verdict, attends=attends) or absent
    yield means
    if verdict.error:
        message = textwrap.shorten(one_line(verdict.error.message), _MESSAGE, placeholder=" ...")
        yield f"{verdict.error.type} at {_stage(verdict)}: {message}"
        if verdict.unexpected:
            yield f"unexpected keys: {', '.join(verdict.unexpected)}"
        if verdict.same_reason is False:
            yield f"not the documented reason ({verdict.documented.reason})"


def _recorded(judgement: Judgement) -> Iterator[str]:
    """Yield when and with what PyTorch the loads were recorded that are not live."""
    loads = [verdict.load for verdict in judgement.verdicts if verdict.load and not verdict.live]
    found = Counter((load.provenance.recorded_at[:10], load.provenance.torch) for load in loads)
    for (day, torch), count in sorted(found.items()):
        of = f"{count} of {counted(len(judgement.verdicts), 'cell')}"
        yield f"Recorded {day}, lane {judgement.plan.lane.value}, torch {torch}: {of}"


def _fixes(judgement: Judgement) -> Iterator[str]:
    """Yield the observed way to load each scenario that a plain load does not do well."""
    by_scenario: dict[str, dict[str, Ending]] = {}
    for verdict in judgement.verdicts:
        found = by_scenario.setdefault(verdict.cell.scenario, {})
        found[verdict.cell.variant] = endings_of.of_judged(verdict)
    scenarios: dict[str, list[str]] = {}
    for scenario, endings in by_scenario.items():
        if fix := _fix(endings, judgement.plan.loaders[0]):
            scenarios.setdefault(fix, []).append(scenario)
    if scenarios:
        yield ""
        yield "What makes it work, as seen:"
        yield from (f"  {fix}: in {', '.join(names)}" for fix, names in scenarios.items())


def _fix(endings: Mapping[str, Ending], loader: Release) -> str:
    """Return what to do, and what is given up by it; empty where a plain load does it all."""
    across = ways.across(endings)
    if across is None:
        return "nothing that was tried"
    return told_way(across.step(loader.name, loader.opt_in), across.gives_up)


def _stage(verdict: JudgedCell) -> str:
    return verdict.stage.value if verdict.stage else ""


def _causes(judgement: Judgement, entries: Sequence[LedgerEntry]) -> Iterator[str]:
    """Yield each cause once: the ledger's, or of an error like none of theirs that of its text."""
    used = {name for verdict in judgement.verdicts for name in verdict.entries}
    listed = [entry for entry in entries if entry.id in used]
    told: dict[tuple[str, str, str], dict[str, None]] = {}
    for entry in listed:
        told.setdefault((entry.cause, entry.advice, entry.reference), {})[entry.id] = None
    for error in dict.fromkeys(v.error for v in judgement.verdicts if v.error and not v.entries):
        if not any(e.stage and e.explains(Deviation.ERROR, e.stage, error) for e in listed):
            for row in symptoms.rows_of(error):
                told.setdefault((row.cause, row.advice, row.references), {})[row.id] = None
    for (cause, advice, reference), names in told.items():
        yield ""
        yield f"Why ({', '.join(names)}): {cause}"
        yield f"What to do: {advice}"
        yield f"Reference: {reference}"
