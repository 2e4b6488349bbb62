"""Rule: every planned cell has exactly one verdict, and each verdict its reason."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import TODAY, a_load, a_save, entry_fields
from matrix import evidence, judge
from matrix.archive import Archive, write
from matrix.errors import ExitCode
from matrix.evidence import Attempt, Failure, Load, Save
from matrix.expectations import Documentation
from matrix.index import Index
from matrix.ledger import Entry
from matrix.plan import Plan
from matrix.store import Store

MakePlan = Callable[..., Plan]
KEY_ERROR = Failure(type="KeyError", message="'scale_inv_fwd'")


def entry(**more: Any) -> Entry:
    return Entry(**entry_fields("1.7", "1.8-2.18", **more))


class Bench:
    """A store filled by hand, and what the judge makes of it."""

    def __init__(self, tmp_path: Path, plan: Plan, documentation: Documentation) -> None:
        self.plan, self.documentation = plan, documentation
        self.store = Store(tmp_path / "store")
        self.store.prepare()
        self.archive: Archive | None = None

    def controls(self, release: str, *, skip: str = "") -> Save:
        """Store a release's save and well-behaved controls."""
        save = a_save(self.plan, release)
        self.store.add(save)
        supports = self.plan.releases[release].minor >= (1, 6)
        own = "trusted" if self.plan.releases[release].opt_in else "plain"
        error = Failure(type="RuntimeError", message="no")
        loads = {
            "own": a_load(self.plan, save, release, own),
            "again": a_load(self.plan, save, release, "control:again"),
            "unknown-key": a_load(self.plan, save, release, "control:unknown-key", error=error),
            "truncated": a_load(self.plan, save, release, "control:truncated", error=error),
            "empty": a_load(self.plan, save, release, "control:empty", default=supports),
        }
        for name, load in loads.items():
            if name != skip:
                self.store.add(load)
        return save

    def judge(self, *entries: Entry, today: datetime.date = TODAY) -> judge.Judgement:
        index = Index(self.plan, self.store, self.archive)
        return judge.judge(index, self.documentation, entries, today)


@pytest.fixture
def bench(
    tmp_path: Path, make_plan: MakePlan, documentation: Documentation
) -> Callable[..., Bench]:
    def make(savers: list[str], loaders: list[str], *rest: Any, **more: Any) -> Bench:
        return Bench(tmp_path, make_plan(savers, loaders, *rest, **more), documentation)

    return make


def pair(
    bench: Callable[..., Bench], saver: str, loader: str, *, skip: str = "", **load: Any
) -> Bench:
    """One pair, its loader's controls in order but for one, one load of the given kind."""
    made = bench([saver], [loader])
    made.controls(loader, skip=skip)
    save = a_save(made.plan, saver)
    made.store.add(save)
    made.store.add(a_load(made.plan, save, loader, **load))
    return made


def test_what_agrees_with_the_faq_conforms(bench: Callable[..., Bench]) -> None:
    (verdict,) = pair(bench, "1.8", "1.11").judge().verdicts
    assert (verdict.outcome, verdict.after_load, verdict.verdict) == (
        "loaded",
        "updates",
        "conforms",
    )


def test_defaults_where_the_faq_says_loaded_deviates(bench: Callable[..., Bench]) -> None:
    judged = pair(bench, "1.8", "1.11", digest="other", default=True).judge()
    assert judged.verdicts[0].verdict == "deviates"
    assert judged.exit_code == ExitCode.DEVIATES


def test_values_that_are_neither_are_partial_and_never_pass(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11", digest="neither")
    (verdict,) = made.judge(entry(saved_by="1.8", observed="defaults")).verdicts
    assert (verdict.outcome, verdict.verdict) == ("partial", "deviates")


def test_loaded_but_frozen_deviates(bench: Callable[..., Bench]) -> None:
    (verdict,) = pair(bench, "1.7", "1.12", frozen=True).judge().verdicts
    assert (verdict.outcome, verdict.after_load, verdict.verdict) == (
        "loaded",
        "frozen",
        "deviates",
    )


def test_the_ledger_excuses_what_it_knows(bench: Callable[..., Bench]) -> None:
    judged = pair(bench, "1.7", "1.12", frozen=True).judge(entry())
    assert judged.verdicts[0].verdict == "known-deviation"
    assert judged.verdicts[0].entries == ("known",)
    assert judged.exit_code == ExitCode.OK


def test_every_deviation_of_a_cell_needs_its_own_entry(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.7", "1.12", frozen=True, digest="x", default=True)
    assert made.judge(entry()).verdicts[0].verdict == "deviates"
    both = entry(), entry(id="second", observed="defaults")
    assert made.judge(*both).verdicts[0].entries == ("second", "known")


@pytest.mark.parametrize(
    "different",
    [
        {"stage": "deserialize"},
        {"error": "TypeError"},
        {"fragment": "recipe"},
        {"loaded_by": "1.13"},
        {"saved_by": "1.6"},
        {"variants": ("trusted",)},
        {"scenarios": ("fp8-weights",)},
    ],
)
def test_an_entry_excuses_nothing_else(
    bench: Callable[..., Bench], different: dict[str, Any]
) -> None:
    fits: dict[str, Any] = {
        "observed": "error",
        "stage": "load_state_dict",
        "error": "KeyError",
        "fragment": "scale_inv",
    }
    made = pair(bench, "1.7", "1.12", error=KEY_ERROR)
    assert made.judge(entry(**fits)).verdicts[0].verdict == "known-deviation"
    assert made.judge(entry(**(fits | different))).verdicts[0].verdict == "deviates"


def test_an_entry_is_stale_when_a_cell_under_it_conforms(bench: Callable[..., Bench]) -> None:
    judged = pair(bench, "1.7", "1.12").judge(entry())
    assert judged.entries[0].state == "stale"
    assert judged.exit_code == ExitCode.DEVIATES


def test_an_entry_expires(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.7", "1.12", frozen=True)
    judged = made.judge(entry(), today=datetime.date(2027, 1, 2))
    assert judged.entries[0].state == "expired"
    assert judged.exit_code == ExitCode.DEVIATES


def test_an_unused_entry_fails_only_a_whole_plan(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11")
    unused = entry(saved_by="1.6")
    assert made.judge(unused).exit_code == ExitCode.OK
    made.plan = _whole(made.plan)
    assert made.judge(unused).exit_code == ExitCode.DEVIATES


def _whole(plan: Plan) -> Plan:
    import dataclasses

    return dataclasses.replace(plan, whole=True)


def test_undocumented_never_fails(bench: Callable[..., Bench]) -> None:
    made = bench(["1.7"], ["2.18"], ("remapped",))
    made.controls("2.18")
    save = a_save(made.plan, "1.7")
    made.store.add(save)
    made.store.add(a_load(made.plan, save, "2.18", "remapped", frozen=True))
    judged = made.judge()
    assert judged.verdicts[0].verdict == "undocumented"
    assert judged.exit_code == ExitCode.OK


def test_none_up_to_1_5(bench: Callable[..., Bench]) -> None:
    (verdict,) = pair(bench, "1.4", "1.5").judge().verdicts
    assert (verdict.outcome, verdict.after_load, verdict.verdict) == (
        "none",
        "untested",
        "conforms",
    )


def test_an_error_for_another_reason_conforms_and_says_so(bench: Callable[..., Bench]) -> None:
    (verdict,) = pair(bench, "1.8", "1.5", error=KEY_ERROR).judge().verdicts
    assert (verdict.verdict, verdict.same_reason) == ("conforms", False)
    keys = ("core_attention._extra_state",)
    made = pair(bench, "1.11", "1.5", error=KEY_ERROR, unexpected_keys=keys)
    assert made.judge().verdicts[0].same_reason is True


@pytest.mark.parametrize("skip", ["own", "again", "unknown-key", "truncated"])
def test_without_its_controls_a_loader_is_not_believed(
    bench: Callable[..., Bench], skip: str
) -> None:
    judged = pair(bench, "1.8", "1.11", skip=skip).judge()
    assert judged.verdicts[0].verdict == "infra"
    assert f"control {skip} of 1.11" in judged.verdicts[0].note
    assert judged.exit_code == ExitCode.INFRA


def test_the_empty_control_is_shown_and_not_required(bench: Callable[..., Bench]) -> None:
    judged = pair(bench, "1.8", "1.11", skip="empty").judge()
    assert judged.verdicts[0].verdict == "conforms"
    assert [c.observed for c in judged.controls if c.control == "empty"] == ["not-run"]


@pytest.mark.parametrize(
    ("kind", "word", "code"),
    [
        ("gap", "inconclusive", ExitCode.INCOMPLETE),
        ("infra", "infra", ExitCode.INFRA),
        ("unavailable", "unavailable", ExitCode.INCOMPLETE),
    ],
)
def test_an_attempt_without_evidence_is_what_it_was(
    bench: Callable[..., Bench], kind: Any, word: str, code: ExitCode
) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    made.store.add(a_save(made.plan, "1.8"))
    releases = made.plan.releases
    index = Index(made.plan, None, None)
    key = index.attempt_key("autocast", "plain", releases["1.8"], releases["1.11"])
    made.store.add_attempt(Attempt(key=key, kind=kind, message="why", detail="end", at="1"))
    judged = made.judge()
    (verdict,) = judged.verdicts
    assert (verdict.verdict, verdict.note, verdict.detail) == (word, "why", "end")
    assert judged.exit_code == code


def test_what_nobody_ran_is_not_run(bench: Callable[..., Bench]) -> None:
    judged = bench(["1.8"], ["1.11"]).judge()
    assert judged.verdicts[0].verdict == "not-run"
    assert judged.exit_code == ExitCode.INCOMPLETE


def test_a_failed_attempt_never_satisfies_an_expected_error(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.5"])
    made.controls("1.5")
    made.store.add(a_save(made.plan, "1.8"))
    key = Index(made.plan, None, None).attempt_key(
        "autocast", "plain", made.plan.releases["1.8"], made.plan.releases["1.5"]
    )
    made.store.add_attempt(Attempt(key=key, kind="infra", message="out of memory", at="1"))
    (verdict,) = made.judge().verdicts
    assert verdict.documented.outcome == "error"
    assert verdict.verdict == "infra"


def test_a_later_success_outranks_a_failed_attempt(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11")
    key = Index(made.plan, None, None).attempt_key(
        "autocast", "plain", made.plan.releases["1.8"], made.plan.releases["1.11"]
    )
    made.store.add_attempt(Attempt(key=key, kind="infra", message="timeout", at="1"))
    assert made.judge().verdicts[0].verdict == "conforms"


def test_two_observations_under_one_key_are_infra(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11")
    save = a_save(made.plan, "1.8")
    made.store.add(a_load(made.plan, save, "1.11", digest="another"))
    (verdict,) = made.judge().verdicts
    assert verdict.verdict == "infra"
    assert "records under one key disagree" in verdict.note


def _recorded(tmp_path: Path, made: Bench, *records: Save | Load) -> None:
    write(tmp_path / "evidence.jsonl.gz", records, "2026-11-24")
    made.archive = Archive(tmp_path / "evidence.jsonl.gz")


def test_recorded_evidence_counts_and_is_marked(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    save = a_save(made.plan, "1.8")
    _recorded(tmp_path, made, save, a_load(made.plan, save, "1.11"))
    (verdict,) = made.judge().verdicts
    assert verdict.verdict == "conforms"
    assert (verdict.live, verdict.save_live, verdict.load_live) == (False, False, False)


def test_recorded_evidence_never_covers_up_a_crash(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    save = a_save(made.plan, "1.8")
    _recorded(tmp_path, made, save, a_load(made.plan, save, "1.11"))
    key = Index(made.plan, None, None).attempt_key(
        "autocast", "plain", made.plan.releases["1.8"], made.plan.releases["1.11"]
    )
    made.store.add_attempt(Attempt(key=key, kind="infra", message="crash", at="1"))
    assert made.judge().verdicts[0].verdict == "infra"


def test_recorded_is_held_against_live(bench: Callable[..., Bench], tmp_path: Path) -> None:
    made = pair(bench, "1.8", "1.11")
    save = a_save(made.plan, "1.8")
    _recorded(tmp_path, made, a_load(made.plan, save, "1.11", digest="another"))
    assert made.judge().verdicts[0].verdict == "infra"


def test_metadata_saved_in_an_undocumented_place_fails(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    save = a_save(made.plan, "1.8", path="core_attention.elsewhere")
    made.store.add(save)
    made.store.add(a_load(made.plan, save, "1.11"))
    judged = made.judge()
    assert judged.saves[0].conforms is False
    assert judged.exit_code == ExitCode.DEVIATES


def test_totals_equal_the_planned_cells(bench: Callable[..., Bench]) -> None:
    judged = bench(["1.5", "1.7", "1.8"], ["1.8", "2.18"]).judge()
    assert sum(judged.totals.values()) == len(judged.plan.cells) == 6


def test_the_worst_code_wins(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8", "1.9"], ["1.11"])
    made.controls("1.11")
    save = a_save(made.plan, "1.8")
    made.store.add(save)
    made.store.add(a_load(made.plan, save, "1.11", default=True, digest="x"))
    assert made.judge().totals["not-run"] == 1
    assert made.judge().exit_code == ExitCode.DEVIATES


def test_the_outcome_looks_at_every_site(make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    save = a_save(plan, "1.8")
    first = save.sites[0]
    second = first.model_copy(update={"name": "1.core_attention"})
    two = save.model_copy(update={"sites": (first, second)})
    load = a_load(plan, two, "1.11")
    assert evidence.outcome(two, load) == "partial"
    whole = load.model_copy(update={"sites": two.sites})
    assert evidence.outcome(two, whole) == "loaded"


def a_pair(make_plan: MakePlan, saver: str, loader: str, **more: Any) -> tuple[Save, Load]:
    plan = make_plan([saver], [loader])
    save = a_save(plan, saver)
    return save, a_load(plan, save, loader, **more)


def test_a_load_that_changes_what_it_was_given_is_partial(make_plan: MakePlan) -> None:
    save, load = a_pair(make_plan, "1.8", "1.11", changed_keys=("proj.bias",))
    assert evidence.outcome(save, load) == "partial"
    assert evidence.flaws(save, load) == ["the load changed proj.bias of the caller's state dict"]
    save, load = a_pair(make_plan, "1.8", "1.5", changed_keys=("proj.bias",))
    assert evidence.outcome(save, load) == "partial"
    assert len(evidence.flaws(save, load)) == 1


def test_a_lost_recipe_is_partial_where_releases_keep_one(make_plan: MakePlan) -> None:
    save, load = a_pair(make_plan, "2.1", "2.18", lost_recipes=("core_attention",))
    assert evidence.outcome(save, load) == "partial"
    assert evidence.flaws(save, load) == ["core_attention: the recipe is not the checkpoint's"]
    save, load = a_pair(make_plan, "2.1", "1.14", lost_recipes=("core_attention",))
    assert evidence.outcome(save, load) == "loaded"


def test_a_partial_cell_says_what_is_not_whole(bench: Callable[..., Bench]) -> None:
    (verdict,) = pair(bench, "1.8", "1.11", digest="another").judge().verdicts
    assert (verdict.outcome, verdict.verdict) == ("partial", "deviates")
    assert verdict.note == "core_attention: forward.scale is not the checkpoint's"


def test_a_failed_control_says_why(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11", skip="own")
    own = next(s for records in made.store.saves().values() for s in records if s.release == "1.11")
    made.store.add(a_load(made.plan, own, "1.11", digest="another"))
    (verdict,) = made.judge().verdicts
    assert verdict.verdict == "infra"
    assert verdict.note == (
        "control own of 1.11: partial (core_attention: forward.scale is not the checkpoint's) "
        "where loaded was required"
    )
