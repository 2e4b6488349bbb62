"""Rule: what real release code does here is what was recorded, cell by cell."""

from __future__ import annotations

import pytest

from helpers.builders import FAQ_SCENARIOS, TODAY
from matrix.catalogue.words import Lane
from matrix.errors import ExitCode
from matrix.judge import judge, ledger
from matrix.plan.cells import CONTROLS
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded

INDEXED = ["1.11", "2.17.1"]


@pytest.mark.parametrize("scenario", FAQ_SCENARIOS.split(","))
def test_live_agrees_with_recorded(bench, scenario) -> None:
    made = bench.plan(INDEXED, INDEXED, scenario=scenario, variants=("plain", "trusted"))
    bench.run(made)
    live = bench.judge(made, with_recorded=False)
    both = bench.judge(made)
    old = judge.judge(
        EvidenceIndex(made, None, recorded.evidence(Lane.CPU)),
        bench.documentation,
        ledger.load(),
        TODAY,
    )
    assert [v.outcome for v in live.verdicts] == [v.outcome for v in old.verdicts]
    assert [v.load.observed() for v in live.verdicts] == [v.load.observed() for v in old.verdicts]
    assert both.totals["infra"] == 0
    assert all(verdict.live for verdict in both.verdicts)


@pytest.fixture
def no_git(monkeypatch, tmp_path) -> None:
    """Put the git repository out of reach, and whatever of it is cached."""
    monkeypatch.setenv("TE_MATRIX_GIT_URL", "/nowhere")
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("no_git")
def test_recorded_checkpoints_load_live(bench) -> None:
    """1.7 cannot be fetched from the index; what it saved can still be loaded here."""
    made = bench.plan(["1.5", "1.7"], ["1.11", "1.12"], variants=("plain", "remapped"))
    bench.run(made)
    verdicts = {v.cell.id: v for v in bench.judge(made).verdicts}
    assert verdicts["autocast/plain/1.5->1.11"].outcome == "defaults"
    assert verdicts["autocast/plain/1.7->1.11"].outcome == "defaults"
    mapped = verdicts["autocast/remapped/1.7->1.11"]
    assert (mapped.outcome, mapped.after_load) == ("loaded", "frozen")
    assert (mapped.save_live, mapped.load_live, mapped.live) == (False, True, False)


def test_nothing_known_is_run_twice(bench) -> None:
    made = bench.plan(["1.11"], ["1.11"])
    assert bench.run(made).measured > 0
    assert bench.run(made).measured == 0


def test_a_new_release_costs_its_row_and_column(bench) -> None:
    bench.run(bench.plan(["1.11"], ["1.11"]))
    grown = bench.run(bench.plan(["1.11", "2.17.1"], ["1.11", "2.17.1"]))
    # one save; its load in the old loader; both loads and the controls in the new one
    assert grown.measured == 1 + 1 + 2 + len(CONTROLS)


def test_the_users_own_scenario_with_more_layers(bench, tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[scenario]]\nname = "two-layers"\nsummary = "s"\nsize = "small"\nlayers = 2\n'
        'weights = "high-precision"\nstate = "all"\nsave_recipe = { amax_history_len = 16 }\n'
        "load_recipe = { amax_history_len = 16 }\n"
        "transport = { weights_only = false, strict = true }\n"
    )
    made = bench.plan(["1.11"], ["1.12"], scenario="two-layers", scenario_file=path)
    bench.run(made)
    (verdict,) = bench.judge(made).verdicts
    assert (verdict.outcome, verdict.after_load) == ("loaded", "updates")
    assert len(verdict.load.attention()) == 2
    shape = verdict.save.parts[0].tensors["forward.amax_history"].shape
    assert shape[0] == 16


@pytest.mark.usefixtures("no_git")
def test_a_release_out_of_reach_with_nothing_recorded_is_unavailable(bench, monkeypatch) -> None:
    """The run goes on with what it has, and the exit code says that it is incomplete."""
    monkeypatch.setattr(recorded, "evidence", lambda lane: None)
    made = bench.plan(["1.7", "1.11"], ["1.7", "1.11"])
    bench.run(made)
    judged = bench.judge(made)
    verdicts = {verdict.cell.id: verdict.verdict for verdict in judged.verdicts}
    assert verdicts == {
        "autocast/plain/1.7->1.7": "unavailable",
        "autocast/plain/1.11->1.7": "unavailable",
        "autocast/plain/1.7->1.11": "unavailable",
        "autocast/plain/1.11->1.11": "conforms",
    }
    assert "/nowhere cannot be used" in judged.verdicts[0].note
    assert judged.exit_code == ExitCode.INCOMPLETE


def test_a_recipe_that_no_release_takes_is_infra(bench, tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[scenario]]\nname = "wrong"\nsummary = "s"\nsize = "small"\nlayers = 1\n'
        'weights = "high-precision"\nstate = "all"\nsave_recipe = {}\n'
        "load_recipe = { no_such_field = 1 }\n"
        "transport = { weights_only = false, strict = true }\n"
    )
    made = bench.plan(["1.11"], ["1.12"], scenario="wrong", scenario_file=path)
    bench.run(made)
    (verdict,) = bench.judge(made).verdicts
    assert verdict.verdict == "infra"
    assert "no_such_field" in verdict.note
