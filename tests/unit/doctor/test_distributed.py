"""Rule: a distributed checkpoint does in a release what the scenario ``distributed`` shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.agreement import evidence
from helpers.formats import recorded_state
from helpers.layouts import dcp_save, megatron_torch_dist
from matrix.catalogue import releases
from matrix.catalogue.words import Outcome
from matrix.checkpoint import layout
from matrix.cli import main
from matrix.doctor import distributed, inspect, remap
from matrix.doctor.predictions import Prediction
from matrix.doctor.sightings import LoadStatus
from matrix.judge import outcomes
from matrix.judge.outcomes import LoadResult
from matrix.store.records import Load, Save

ALL = releases.load().releases
READ = "dcp_to_torch_save and torch.load"
PLAIN = "plain"


def loads(scenario: str, variant: str = PLAIN) -> Iterator[tuple[Save, str, Load]]:
    for saver in ALL:
        for loader in ALL:
            known = evidence().save(scenario, saver)
            assert known is not None
            save = known.records[0]
            # Without an opt-in, the variant `trusted` has no cell.
            shown = PLAIN if variant == "trusted" and not loader.opt_in else variant
            found = evidence().load(scenario, shown, save, loader)
            assert found is not None, (scenario, variant, saver.name, loader.name)
            yield save, loader.name, found.records[0]


def held_as_tensors(save: Save) -> bool:
    return releases.load()[save.release].minor >= (1, 14)


def test_no_release_reads_states_of_1_14_and_later_into_a_model() -> None:
    for save, loader, load in loads("distributed"):
        if held_as_tensors(save):
            assert load.error and load.stage == "deserialize", (save.release, loader)


def ending(save: Save, load: Load) -> tuple[object, ...]:
    result: LoadResult = outcomes.result(save, load)
    error = load.error.type if load.error else None
    return result.outcome, result.after_load, result.rest, error


def test_what_is_read_whole_is_what_torch_save_would_have_written() -> None:
    files = {
        (save.release, to): ending(save, load) for save, to, load in loads("autocast", "trusted")
    }
    for save, loader, load in loads("distributed", "whole"):
        assert ending(save, load) == files[save.release, loader], (save.release, loader)


def test_objects_are_read_as_they_are_and_a_missing_key_is_not_forgiven() -> None:
    files = {(save.release, to): ending(save, load)[:2] for save, to, load in loads("autocast")}
    for save, loader, load in loads("distributed"):
        if not held_as_tensors(save):
            outcome, after_load = files[save.release, loader]
            seen = ending(save, load)[0]
            intact = outcome != Outcome.DEFAULTS and after_load != "frozen"
            assert seen == outcome if intact else seen in (outcome, Outcome.ERROR)


@pytest.mark.parametrize("release", ["1.14", "2.0", "2.17.1"])
def test_states_that_are_listed_as_tensors_fail_and_load_read_whole(
    release: str, tmp_path: Path
) -> None:
    path = dcp_save(recorded_state(release), tmp_path / "dcp")
    report = inspect(path)
    assert {target.status for target in report.targets} == {LoadStatus.FAILS}
    own = report.target(release)
    assert own.way == "read whole" and READ in own.step
    assert "read whole, it " in own.detail and "core_attention" in own.detail
    assert "distributed" in own.seen_in
    if release == "1.14":
        assert report.target("1.11").way == "read whole"
        return
    older = report.target("1.11")
    assert (
        older.way == "rewrite"
        and older.step.startswith("Run te-matrix remap")
        and READ in older.step
    )
    assert "read whole, it fails" in older.detail
    result = CliRunner().invoke(main, ["inspect", str(path), "--target", release])
    assert result.exit_code == 1


def test_what_megatron_stores_in_lists_is_no_tensor(tmp_path: Path) -> None:
    report = inspect(megatron_torch_dist(recorded_state("2.17.1"), tmp_path))
    assert report.target("2.15").status == LoadStatus.LOADS


def test_objects_say_that_a_missing_key_is_not_forgiven(tmp_path: Path) -> None:
    report = inspect(dcp_save(recorded_state("1.7"), tmp_path / "dcp"))
    assert "a key of the model's is missing" in report.target("1.11").detail
    assert inspect(dcp_save(recorded_state("1.11"), tmp_path / "own")).target("1.12").detail == ""


@pytest.mark.parametrize(
    ("status", "then"),
    [(LoadStatus.UNKNOWN, "it is not known: why"), (LoadStatus.DEPENDS, "it depends: why")],
)
def test_what_is_not_known_read_whole_is_not_promised(
    status: LoadStatus, then: str, tmp_path: Path
) -> None:
    contents = layout.find(dcp_save(recorded_state("2.17.1"), tmp_path / "dcp")).read()
    made = distributed.predicted(contents, Prediction("2.4", status, "why", step="Do that"))
    assert made.status == LoadStatus.FAILS and made.detail.endswith(then)
    assert (made.step, made.way) == ("Do that", "")


@pytest.mark.usefixtures("not_tried")
def test_remap_says_how_the_result_is_read(tmp_path: Path, out: Path) -> None:
    path = dcp_save(recorded_state("2.17.1"), tmp_path / "dcp")
    done = remap(path, out / "new", "1.11")
    assert done.written and READ in done.read
    again = dataclasses.replace(done.before)
    assert again.status == LoadStatus.FAILS
    words = ["remap", str(path), str(out / "other"), "--to", "1.11", "--dry-run"]
    assert READ in CliRunner().invoke(main, words).output
    assert remap(dcp_save(recorded_state("1.11"), tmp_path / "own"), out / "x", "2.0").read == ""
