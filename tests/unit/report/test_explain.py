"""Rule: a page on a pair says once what ends alike, and of attention only where there is any."""

from __future__ import annotations

from types import SimpleNamespace

from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.faq import UNDOCUMENTED, Documented
from matrix.catalogue.words import AfterLoad, Outcome, Verdict
from matrix.judge.judgement import JudgedCell, Ruling
from matrix.plan.cells import Cell
from matrix.report import explain

LOADED = Documented(Outcome.LOADED, "", "Loads")


def judged(scenario: str, variant: str = "plain", outcome: Outcome = Outcome.LOADED) -> JudgedCell:
    documented = LOADED if variant == "plain" else UNDOCUMENTED
    conforms = Verdict.CONFORMS if outcome == Outcome.LOADED else Verdict.DEVIATES
    ruling = Ruling(
        documented=documented,
        verdict=conforms if documented is LOADED else Verdict.UNDOCUMENTED,
        outcome=outcome,
        after_load=AfterLoad.UPDATES if outcome == Outcome.LOADED else AfterLoad.UNTESTED,
    )
    return JudgedCell(Cell(scenario, variant, "2.4", "2.5"), None, ruling)


def page(*verdicts: JudgedCell) -> list[str]:
    known = releases.load()
    plan = SimpleNamespace(
        savers=[known["2.4"]],
        loaders=[known["2.5"]],
        scenarios=scenarios.load(),
        lane="cpu",
        runner="local",
    )
    judgement = SimpleNamespace(plan=plan, verdicts=verdicts)
    return list(explain.page(judgement, faq.load(), ()))  # type: ignore[arg-type]


def test_what_ends_alike_is_said_once_and_the_faqs_scenarios_come_first() -> None:
    lines = page(
        judged("autocast"),
        judged("autocast", "trusted"),
        judged("attention-only", outcome=Outcome.PARTIAL),
        judged("history-16"),
        judged("history-16", "trusted"),
        judged("not-strict", outcome=Outcome.PARTIAL),
    )
    assert lines[lines.index("") + 1 :][3:] == [
        "loads, FP8 attention metadata intact",
        "    conforms: autocast, history-16 / plain",
        "    undocumented: autocast, history-16 / trusted",
        "loads, FP8 attention metadata neither intact nor default",
        "    deviates: attention-only, not-strict / plain",
        "",
        "What makes it work, as seen:",
        "  nothing that was tried: in attention-only, not-strict",
    ]


def test_a_module_without_attention_has_no_attention_metadata() -> None:
    lines = page(judged("autocast"), judged("linear"))
    own = lines.index("loads, FP8 metadata intact")
    assert lines[own + 1] == "    conforms: linear/plain"
    assert "    conforms: autocast/plain" in lines[:own]
