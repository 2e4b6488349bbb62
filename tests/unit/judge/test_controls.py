"""Rule: a control that came out wrong is a finding; one that could not be run blocks its cells."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.builders import a_load, a_save, entry_fields
from matrix.catalogue.faq import Documentation
from matrix.catalogue.words import ControlName, SaveOutcome
from matrix.errors import ExitCode
from matrix.judge import judge
from matrix.judge.judgement import Judgement
from matrix.judge.ledger import LedgerEntry
from matrix.plan.cells import Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store.records import Attempt, Failure, Load, Save
from matrix.store.store import Store

TODAY = datetime.date(2026, 11, 24)
REFUSED = Failure(type="RuntimeError", message="no")


class Bench:
    """1.11 loads its own save, all controls in order but for those that a test stores."""

    def __init__(self, plan: Plan, store: Store, documentation: Documentation) -> None:
        self.plan, self.store, self.documentation = plan, store, documentation
        self.own = a_save(plan, plan.loaders[0].name)

    def loads(self) -> dict[str, Load]:
        """The loads of a release that does as it should."""
        control = "control:{}".format
        names = ("unknown-key", "truncated")
        refused = {n: a_load(self.plan, self.own, "1.11", control(n), error=REFUSED) for n in names}
        loaded = {"again": a_load(self.plan, self.own, "1.11", control("again"))}
        empty = {"empty": a_load(self.plan, self.own, "1.11", control("empty"), default=True)}
        return {"own": a_load(self.plan, self.own, "1.11")} | loaded | refused | empty

    def judge(self, *entries: LedgerEntry, save: Save | None = None, **instead: Load) -> Judgement:
        """Store everything, a test's own loads in place of what they stand for, and judge."""
        self.store.prepare()
        records = self.loads() | {name.replace("_", "-"): load for name, load in instead.items()}
        for record in (save or self.own, *records.values()):
            self.store.add(record)
        index = EvidenceIndex(self.plan, self.store, None)
        return judge.judge(index, self.documentation, entries, TODAY)


@pytest.fixture
def bench(tmp_path: Path, make_plan: Callable[..., Plan], documentation: Documentation) -> Bench:
    return Bench(make_plan(["1.11"], ["1.11"]), Store(tmp_path / "store"), documentation)


def again(bench: Bench) -> Load:
    return a_load(bench.plan, bench.own, "1.11", "control:again", default=True)


def test_a_wrong_control_fails_the_gate_and_leaves_its_cells_what_was_seen(bench: Bench) -> None:
    judged = bench.judge(again=again(bench))
    assert [cell.verdict for cell in judged.verdicts] == ["conforms"]
    assert judged.verdicts[0].controls == ("again",)
    (wrong,) = (check for check in judged.controls if not check.good)
    assert (wrong.control, wrong.verdict, wrong.observed) == ("again", "deviates", "defaults")
    assert judged.exit_code == ExitCode.DEVIATES
    assert sum(judged.totals.values()) == 1


def test_the_ledger_can_know_a_wrong_control(bench: Bench) -> None:
    fields = entry_fields("", "1.11", control=ControlName.AGAIN, observed="defaults", variants=())
    known = LedgerEntry(**fields | {"saved_by": None})
    judged = bench.judge(known, again=again(bench))
    (wrong,) = (check for check in judged.controls if not check.good)
    assert (wrong.verdict, wrong.entries) == ("known-deviation", ("known",))
    assert [check.state for check in judged.entries] == ["used"]
    assert judged.exit_code == ExitCode.OK


def test_an_entry_on_a_control_that_is_in_order_is_stale(bench: Bench) -> None:
    fields = entry_fields("", "1.11", control=ControlName.AGAIN, observed="defaults", variants=())
    judged = bench.judge(LedgerEntry(**fields | {"saved_by": None}))
    assert [check.state for check in judged.entries] == ["stale"]


@pytest.mark.parametrize("field", ["saved_by", "variants"])
def test_an_entry_on_a_control_names_no_savers_and_no_variants(field: str) -> None:
    fields = entry_fields("1.11", "1.11", control=ControlName.AGAIN, observed="defaults")
    fields |= {"variants": ()} if field == "saved_by" else {"saved_by": None}
    with pytest.raises(ValueError, match="and no other, has saved_by and variants"):
        LedgerEntry(**fields)


@pytest.mark.parametrize(("kind", "verdict"), [("gap", "inconclusive"), ("infra", "infra")])
def test_a_control_that_could_not_be_run_blocks_its_cells(
    bench: Bench, kind: str, verdict: str
) -> None:
    release = bench.plan.releases["1.11"]
    index = EvidenceIndex(bench.plan, None, None)
    key = index.attempt_key("autocast", "control:again", release, release)
    bench.store.prepare()
    bench.store.add_attempt(Attempt(key=key, kind=kind, message="why", at="1"))
    loads = bench.loads()
    for record in (bench.own, *(load for name, load in loads.items() if name != "again")):
        bench.store.add(record)
    judged = judge.judge(
        EvidenceIndex(bench.plan, bench.store, None), bench.documentation, (), TODAY
    )
    assert [cell.verdict for cell in judged.verdicts] == [verdict]


def test_a_save_that_raised_is_the_outcome_of_its_cells_and_of_one_control(bench: Bench) -> None:
    raised = Failure(type="AttributeError", message="no get_fp8_meta")
    save = bench.own.model_copy(
        update={"outcome": SaveOutcome.ERROR, "error": raised, "file_digest": None, "parts": ()}
    )
    judged = bench.judge(save=save)
    (cell,) = judged.verdicts
    assert (cell.outcome, cell.stage, cell.error) == ("error", "save", raised)
    assert cell.verdict == "deviates"
    assert [(c.control, c.observed) for c in judged.controls] == [("own", "error")]
    assert (judged.saves[0].outcome, judged.saves[0].note) == (
        "error",
        "AttributeError: no get_fp8_meta",
    )


def test_a_save_that_raised_never_satisfies_a_documented_error(
    tmp_path: Path, make_plan: Callable[..., Plan], documentation: Documentation
) -> None:
    made = Bench(make_plan(["1.8"], ["1.5"]), Store(tmp_path / "store"), documentation)
    raised = Failure(type="AttributeError", message="no get_fp8_meta")
    save = a_save(made.plan, "1.8").model_copy(
        update={"outcome": SaveOutcome.ERROR, "error": raised, "file_digest": None}
    )
    made.store.prepare()
    made.store.add(save)
    index = EvidenceIndex(made.plan, made.store, None)
    (cell,) = judge.judge(index, documentation, (), TODAY).verdicts
    assert (cell.documented.outcome, cell.outcome, cell.verdict) == ("error", "error", "deviates")
