"""Rule: every planned cell has exactly one verdict, and each verdict its reason."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.builders import TODAY, a_load, a_save, entry_fields
from matrix.catalogue.faq import Documentation
from matrix.catalogue.words import SaveOutcome
from matrix.errors import ExitCode
from matrix.judge import judge, outcomes, summary
from matrix.judge.judgement import EntryCheck, Judgement, SaveCheck
from matrix.judge.ledger import LedgerEntry
from matrix.plan.cells import Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store.recorded import Recorded, write_evidence
from matrix.store.records import Attempt, Failure, Load, Save
from matrix.store.store import Store

MakePlan = Callable[..., Plan]
OLD, NEW = "core_attention.fused_attention._extra_state", "core_attention._extra_state"
KEY_ERROR = Failure(type="KeyError", message="'scale_inv_fwd'")


def entry(**more: Any) -> LedgerEntry:
    return LedgerEntry(**entry_fields("1.7", "1.8-2.18", **more))


class Bench:
    """A store filled by hand, and what the judge makes of it."""

    def __init__(self, tmp_path: Path, plan: Plan, documentation: Documentation) -> None:
        self.plan, self.documentation = plan, documentation
        self.store = Store(tmp_path / "store")
        self.store.prepare()
        self.recorded: Recorded | None = None

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

    def saved(self, release: str) -> Save:
        """What the store has of a release's save."""
        return next(
            s for found in self.store.saves().values() for s in found if s.release == release
        )

    def loaded(self, saver: str, loader: str) -> Load:
        """What the store has of a plain load."""
        wanted = (saver, loader, "plain")
        loads = [load for found in self.store.loads().values() for load in found]
        return next(x for x in loads if (x.saved_by, x.release, x.variant) == wanted)

    def failed(self, saver: str, loader: str, kind: Any, message: str = "why") -> None:
        """Store a failed attempt: at a load, or at a save where no loader is named."""
        releases, index = self.plan.releases, EvidenceIndex(self.plan, None, None)
        key = index.save_attempt_key("autocast", releases[saver])
        if loader:
            key = index.attempt_key("autocast", "plain", releases[saver], releases[loader])
        self.store.add_attempt(Attempt(key=key, kind=kind, message=message, at="1"))

    def judge(self, *entries: LedgerEntry, today: datetime.date = TODAY) -> Judgement:
        index = EvidenceIndex(self.plan, self.store, self.recorded)
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
    made = pair(bench, "1.8", "1.11")
    (verdict,) = made.judge().verdicts
    assert verdict.cell == made.plan.cells[0]
    assert (verdict.save, verdict.load) == (made.saved("1.8"), made.loaded("1.8", "1.11"))
    assert (verdict.save_live, verdict.load_live, verdict.live) == (True, True, True)
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
    assert judged.entries == (EntryCheck(entry(), "used", 1),)
    assert judged.today == TODAY
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
    for day, state in ((31, "used"), (1, "expired"), (2, "expired")):
        month, year = (12, 2026) if day == 31 else (1, 2027)
        judged = made.judge(entry(), today=datetime.date(year, month, day))
        assert judged.entries[0].state == state
        assert judged.exit_code == (ExitCode.OK if state == "used" else ExitCode.DEVIATES)


def test_an_unused_entry_fails_only_a_whole_plan(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11")
    unused = entry(saved_by="1.6")
    assert made.judge(unused).exit_code == ExitCode.OK
    made.plan = _whole(made.plan)
    assert made.judge(unused).exit_code == ExitCode.DEVIATES


def _whole(plan: Plan) -> Plan:
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
    assert judged.verdicts[0].documented.outcome == "loaded"
    assert judged.verdicts[0].cell == judged.plan.cells[0]
    assert judged.exit_code == ExitCode.INFRA


def test_a_truncated_payload_must_not_be_loaded(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11", skip="truncated")
    made.store.add(a_load(made.plan, made.saved("1.11"), "1.11", "control:truncated"))
    judged = made.judge()
    assert judged.verdicts[0].verdict == "conforms"
    assert judged.verdicts[0].controls == ("truncated",)
    assert judged.exit_code == ExitCode.DEVIATES
    (check,) = (check for check in judged.controls if not check.good)
    assert (check.scenario, check.release, check.control) == ("autocast", "1.11", "truncated")
    assert (check.required, check.observed) == ("not loaded", "loaded")
    assert check.verdict == "deviates"


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
    index = EvidenceIndex(made.plan, None, None)
    key = index.attempt_key("autocast", "plain", releases["1.8"], releases["1.11"])
    made.store.add_attempt(Attempt(key=key, kind=kind, message="why", detail="end", at="1"))
    judged = made.judge()
    (verdict,) = judged.verdicts
    assert (verdict.verdict, verdict.note, verdict.detail) == (word, "why", "end")
    assert judged.exit_code == code


def test_what_nobody_ran_is_not_run(bench: Callable[..., Bench]) -> None:
    judged = bench(["1.8"], ["1.11"]).judge()
    (verdict,) = judged.verdicts
    assert (verdict.cell, verdict.verdict) == (judged.plan.cells[0], "not-run")
    assert (verdict.outcome, verdict.live) == ("not-run", False)
    assert verdict.note == "nothing was run for it, and nothing is recorded"
    assert verdict.documented.outcome == "loaded"
    assert judged.exit_code == ExitCode.INCOMPLETE


def test_a_failed_attempt_never_satisfies_an_expected_error(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.5"])
    made.controls("1.5")
    made.store.add(a_save(made.plan, "1.8"))
    key = EvidenceIndex(made.plan, None, None).attempt_key(
        "autocast", "plain", made.plan.releases["1.8"], made.plan.releases["1.5"]
    )
    made.store.add_attempt(Attempt(key=key, kind="infra", message="out of memory", at="1"))
    (verdict,) = made.judge().verdicts
    assert verdict.documented.outcome == "error"
    assert verdict.verdict == "infra"


def test_a_later_success_outranks_a_failed_attempt(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11")
    key = EvidenceIndex(made.plan, None, None).attempt_key(
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
    loads = made.store.loads().values()
    seen = sorted(load.observed()[:8] for found in loads if len(found) > 1 for load in found)
    assert verdict.note == f"records under one key disagree: {', '.join(seen)}"


def _recorded(tmp_path: Path, made: Bench, *records: Save | Load) -> None:
    write_evidence(tmp_path / "evidence", records, "2026-11-24")
    made.recorded = Recorded(tmp_path / "evidence")


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


def test_recorded_evidence_stands_in_for_a_source_out_of_reach(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    save = a_save(made.plan, "1.8")
    _recorded(tmp_path, made, save, a_load(made.plan, save, "1.11"))
    made.failed("1.8", "", "unavailable")
    made.failed("1.8", "1.11", "unavailable")
    assert made.judge().verdicts[0].verdict == "conforms"


@pytest.mark.parametrize("kind", ["infra", "gap"])
def test_the_last_broken_attempt_says_why(bench: Callable[..., Bench], kind: Any) -> None:
    made = bench(["1.8"], ["1.11"])
    made.failed("1.8", "", kind, "it broke")
    made.failed("1.8", "", "unavailable", "and then was gone")
    assert made.judge().verdicts[0].note == "it broke"


def test_a_save_that_failed_is_the_reason_of_its_cells(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    made.failed("1.8", "", "unavailable", "no source")
    (verdict,) = made.judge().verdicts
    assert (verdict.cell, verdict.verdict) == (made.plan.cells[0], "unavailable")
    assert (verdict.note, verdict.documented.outcome) == ("no source", "loaded")


def test_a_loader_without_source_is_the_reason_of_its_cells(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.11"])
    made.store.add(a_save(made.plan, "1.8"))
    made.failed("1.11", "", "unavailable", "no source")
    (verdict,) = made.judge().verdicts
    assert (verdict.cell, verdict.verdict) == (made.plan.cells[0], "unavailable")
    assert (verdict.note, verdict.documented.outcome) == ("no source", "loaded")


def test_recorded_evidence_never_covers_up_a_crash(
    bench: Callable[..., Bench], tmp_path: Path
) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    save = a_save(made.plan, "1.8")
    _recorded(tmp_path, made, save, a_load(made.plan, save, "1.11"))
    key = EvidenceIndex(made.plan, None, None).attempt_key(
        "autocast", "plain", made.plan.releases["1.8"], made.plan.releases["1.11"]
    )
    made.store.add_attempt(Attempt(key=key, kind="infra", message="crash", at="1"))
    assert made.judge().verdicts[0].verdict == "infra"


def test_savers_of_one_state_are_judged_alike_unless_their_saves_differ(
    bench: Callable[..., Bench],
) -> None:
    made = bench(["1.8", "1.9", "1.10"], ["1.11"])
    made.controls("1.11")
    first = a_save(made.plan, "1.8")
    made.store.add(first)
    made.store.add(a_load(made.plan, first, "1.11"))
    alike = {"state_digest": first.state_digest, "keys": first.keys, "parts": first.parts}
    made.store.add(a_save(made.plan, "1.9").model_copy(update=alike))
    spoilt = {"outcome": SaveOutcome.SPOILT, "flaws": ("lost",)}
    made.store.add(a_save(made.plan, "1.10").model_copy(update=alike | spoilt))
    found = {verdict.cell.saved_by: verdict for verdict in made.judge().verdicts}
    assert found["1.8"].ruling is found["1.9"].ruling
    assert (found["1.9"].save, found["1.9"].verdict) == (made.saved("1.9"), "conforms")
    assert (found["1.10"].verdict, found["1.10"].note) == ("deviates", "lost")


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


@pytest.mark.parametrize(
    ("release", "path", "documented", "observed", "conforms"),
    [
        ("1.5", None, "none", "none", True),
        ("1.7", None, OLD, OLD, True),
        ("1.8", None, NEW, NEW, True),
        ("1.8", "core_attention.fused_attention", NEW, OLD, False),
        ("1.8", "", NEW, "none", False),
        ("1.5", "core_attention", "none", NEW, False),
    ],
)
def test_where_a_save_keeps_its_metadata(
    bench: Callable[..., Bench],
    release: str,
    path: str | None,
    documented: str,
    observed: str,
    conforms: bool,
) -> None:
    made = bench([release], [release])
    save = a_save(made.plan, release)
    if path is not None:
        kept = a_save(bench(["1.8"], ["1.8"]).plan, "1.8").parts[0]
        parts = (kept.model_copy(update={"path": path}),) if path else ()
        save = save.model_copy(update={"parts": parts})
    made.store.add(save)
    expected = SaveCheck("autocast", release, documented, observed, conforms)
    assert made.judge().saves == (expected,)


def test_a_save_that_keeps_it_in_two_places_names_both(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.8"])
    save = a_save(made.plan, "1.8")
    old = save.parts[0].model_copy(update={"path": OLD.removesuffix("._extra_state"), "name": "x"})
    made.store.add(save.model_copy(update={"parts": (*save.parts, old)}))
    (check,) = made.judge().saves
    assert (check.observed, check.conforms) == (f"{NEW}, {OLD}", False)


def test_totals_that_do_not_add_up_are_an_error(bench: Callable[..., Bench]) -> None:
    judged = bench(["1.7", "1.8"], ["1.8"]).judge()
    with pytest.raises(AssertionError, match="verdicts: 1, cells: 2"):
        _ = dataclasses.replace(judged, verdicts=judged.verdicts[:1]).totals


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
    first = save.parts[0]
    second = first.model_copy(update={"name": "1.core_attention"})
    two = save.model_copy(update={"parts": (first, second)})
    load = a_load(plan, two, "1.11")
    assert outcomes.result(two, load).outcome == "partial"
    whole = load.model_copy(update={"parts": two.parts})
    assert outcomes.result(two, whole).outcome == "loaded"


def a_pair(make_plan: MakePlan, saver: str, loader: str, **more: Any) -> tuple[Save, Load]:
    plan = make_plan([saver], [loader])
    save = a_save(plan, saver)
    return save, a_load(plan, save, loader, **more)


def test_a_load_that_changes_what_it_was_given_is_partial(make_plan: MakePlan) -> None:
    save, load = a_pair(make_plan, "1.8", "1.11", changed_keys=("proj.bias",))
    assert outcomes.result(save, load).outcome == "partial"
    assert outcomes.result(save, load).flaws == (
        "the load changed proj.bias of the caller's state dict",
    )
    save, load = a_pair(make_plan, "1.8", "1.5", changed_keys=("proj.bias",))
    assert outcomes.result(save, load).outcome == "partial"
    assert len(outcomes.result(save, load).flaws) == 1


def test_a_lost_recipe_is_partial_where_releases_keep_one(make_plan: MakePlan) -> None:
    save, load = a_pair(make_plan, "2.1", "2.18", lost_recipes=("core_attention",))
    assert outcomes.result(save, load).outcome == "partial"
    assert outcomes.result(save, load).flaws == (
        "core_attention: the recipe is not the checkpoint's",
    )
    save, load = a_pair(make_plan, "2.1", "1.14", lost_recipes=("core_attention",))
    assert outcomes.result(save, load).outcome == "loaded"


def test_a_partial_cell_says_what_is_not_whole(bench: Callable[..., Bench]) -> None:
    (verdict,) = pair(bench, "1.8", "1.11", digest="another").judge().verdicts
    assert (verdict.outcome, verdict.verdict) == ("partial", "deviates")
    assert verdict.note == "core_attention: forward.scale is not the checkpoint's"


def test_a_failed_control_says_why(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11", skip="own")
    own = next(s for records in made.store.saves().values() for s in records if s.release == "1.11")
    made.store.add(a_load(made.plan, own, "1.11", digest="another"))
    judged = made.judge()
    assert judged.verdicts[0].verdict == "conforms"
    assert judged.verdicts[0].controls == ("own",)
    (check,) = (check for check in judged.controls if not check.good)
    assert check.sentence == (
        "control own of 1.11: partial (core_attention: forward.scale is not the checkpoint's) "
        "where loaded was required"
    )


def test_what_is_whole_needs_no_words(bench: Callable[..., Bench]) -> None:
    judged = pair(bench, "1.8", "1.11").judge()
    assert judged.verdicts[0].note == ""
    assert {check.note for check in judged.controls if check.good} == {""}


def test_an_error_speaks_for_itself(bench: Callable[..., Bench]) -> None:
    error = Failure(type="KeyError", message="'recipe'")
    (verdict,) = pair(bench, "1.8", "1.11", error=error).judge().verdicts
    assert (verdict.outcome, verdict.error, verdict.note) == ("error", error, "")


def test_every_flaw_of_a_partial_cell_is_told(bench: Callable[..., Bench]) -> None:
    made = pair(bench, "1.8", "1.11", changed_keys=("a", "b"))
    (verdict,) = made.judge().verdicts
    assert verdict.note == (
        "the load changed a of the caller's state dict; "
        "the load changed b of the caller's state dict"
    )


def test_a_failed_control_says_the_error_on_one_line(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11", skip="own")
    own = made.saved("1.11")
    error = Failure(type="KeyError", message="two\n   lines")
    made.store.add(a_load(made.plan, own, "1.11", error=error))
    (check,) = [check for check in made.judge().controls if check.control == "own"]
    assert (check.observed, check.note, check.good) == ("error", "KeyError: two lines", False)


def test_a_failed_control_that_raised_nothing_needs_no_more_words(
    bench: Callable[..., Bench],
) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11", skip="own")
    made.store.add(a_load(made.plan, made.saved("1.11"), "1.11", default=True, digest="other"))
    (check,) = [check for check in made.judge().controls if check.control == "own"]
    assert (check.observed, check.note) == ("defaults", "")


def test_a_release_that_cannot_start_is_counted_once_with_all_it_leaves_open(
    bench: Callable[..., Bench],
) -> None:
    made = bench(["1.8", "1.9"], ["1.11"])
    made.controls("1.11")
    save = a_save(made.plan, "1.8")
    made.store.add(save)
    made.store.add(a_load(made.plan, save, "1.11"))
    key = EvidenceIndex(made.plan, None, None).save_attempt_key(
        "autocast", made.plan.releases["1.9"]
    )
    why = "release 1.9 cannot be imported: ImportError: no einops."
    attempt = Attempt(key=key, kind="infra", message=why, lacking="1.9", at="1")
    made.store.add_attempt(attempt)
    judged = made.judge()
    (lack,) = summary.lacking_releases(judged)
    assert (lack.release, lack.cells, lack.controls) == ("1.9", 1, 0)
    assert lack.sentence == f"infra: {why[:-1]}: 1 cell and 0 controls without outcome"
    assert [verdict.lacking for verdict in judged.verdicts] == ["", "1.9"]


def test_a_failure_of_one_load_is_no_lacking_release(bench: Callable[..., Bench]) -> None:
    made = bench(["1.8"], ["1.11"])
    made.controls("1.11")
    made.store.add(a_save(made.plan, "1.8"))
    made.failed("1.8", "1.11", "infra")
    judged = made.judge()
    assert (judged.verdicts[0].verdict, summary.lacking_releases(judged)) == ("infra", [])
