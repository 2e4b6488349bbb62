"""Holds a report of ``inspect`` against the matrix's own verdicts."""

from __future__ import annotations

import datetime
import functools

from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.words import Lane
from matrix.doctor import Inspection
from matrix.judge import judge, ledger
from matrix.judge.judgement import JudgedCell
from matrix.plan.cells import plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded


@functools.cache
def verdicts(saver: str, scenario: str) -> dict[str, JudgedCell]:
    """The matrix's verdicts on the plain cells of one saver, by loader."""
    known = releases.load()
    made = plan_cells(
        faq.load(),
        {scenario: scenarios.load()[scenario]},
        {"plain": scenarios.variants()["plain"]},
        [known[saver]],
        known.releases,
    )
    index = EvidenceIndex(made, None, recorded.evidence(Lane.CPU))
    judged = judge.judge(index, faq.load(), ledger.load(), datetime.date.min)
    return {verdict.cell.loaded_by: verdict for verdict in judged.verdicts}


def expected(verdict: JudgedCell, report: Inspection) -> str:
    if verdict.outcome == "error":
        return "fails"
    if verdict.outcome == "defaults":
        return "loads" if report.nothing_to_lose else "resets"
    if verdict.after_load == "frozen":
        return "frozen"
    return "loads"


def check_against_the_matrix(report: Inspection, saver: str, scenario: str) -> None:
    found = verdicts(saver, scenario)
    assert len(report.targets) == len(found) == 41
    for target in report.targets:
        verdict = found[target.release]
        assert target.status == expected(verdict, report), target
        if verdict.error:
            assert " ".join(verdict.error.message.split()) in target.detail
