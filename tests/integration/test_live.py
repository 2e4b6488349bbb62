"""Rule: asked live, a release does with each state what it was seen to do in the matrix."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from helpers.agreement import plain
from helpers.builders import recorded_bytes
from helpers.formats import recorded_state, torch_zip
from matrix.catalogue import forms, releases, scenarios
from matrix.catalogue.releases import Release
from matrix.checkpoint import edits, layout
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError
from matrix.cli import main
from matrix.doctor import Assumed, LoadStatus, asked, inspect, remap, verify, writers
from matrix.doctor import places as asking
from matrix.doctor.live import LiveAnswer, LiveReleases
from matrix.doctor.predictions import Predictor
from matrix.errors import ExitCode, MatrixError, SourceError, SourceUnavailable
from matrix.lane.sources import FetchedSources
from matrix.store.store import Store

KNOWN = releases.load()
LOADERS = ["1.11", "1.13", "2.3", "2.4", "2.16", "2.20.2"]
SAVED = [
    ("1.7", "autocast"),
    ("1.7", "attention-only"),
    ("1.11", "autocast"),
    ("2.2.1", "autocast"),
    ("2.17.1", "attention-only"),
    ("2.17.1", "autocast"),
]


@pytest.fixture(scope="module")
def lane() -> Iterator[LiveReleases]:
    with LiveReleases(FetchedSources()) as opened:
        yield opened


def needs_source(release: str) -> None:
    try:
        FetchedSources().get(KNOWN[release])
    except (SourceError, SourceUnavailable) as error:
        pytest.skip(f"the source of {release} is in git only: {error}")


def read(state: dict[str, Any], folder: Path) -> Contents:
    return layout.find(torch_zip(state, folder)).read()


def ask(lane: LiveReleases, loader: str, contents: Contents) -> LiveAnswer:
    return lane.ask(KNOWN[loader], asking.places_of(contents))


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(("saver", "scenario"), SAVED)
def test_the_answer_is_what_the_evidence_says(
    saver: str, scenario: str, loader: str, lane: LiveReleases, tmp_path: Path
) -> None:
    path = torch_zip(recorded_state(saver, scenario), tmp_path)
    predicted = inspect(path, [loader], saved_by=saver).targets[0]
    answer = ask(lane, loader, layout.find(path).read())
    assert answer.status == predicted.status, (answer.detail, predicted.detail)


def test_strict_loading_tells_its_keys(lane: LiveReleases, tmp_path: Path) -> None:
    nothing = {f"norm.{name}": torch.ones(4) for name in ("weight", "bias")}
    state = {**recorded_state("1.11"), **nothing}
    answer = ask(lane, "1.13", read(state, tmp_path))
    assert (answer.status, answer.missing) == ("fails", ("norm._extra_state",))
    by_key = {one.key: one.status for one in answer.states}
    assert by_key.pop("norm._extra_state") == "fails"
    assert set(by_key.values()) == {"loads"}, "the others load by themselves"
    state["norm._extra_state"] = torch.Tensor()
    answer = ask(lane, "1.11", read(state, tmp_path))
    assert (answer.status, answer.unexpected) == ("fails", ("norm._extra_state",))
    assert ask(lane, "1.13", read(state, tmp_path)).status == "loads"


@pytest.mark.parametrize(("name", "status"), [("core_attention", "loads"), ("dpa", "fails")])
def test_what_hooks_forgive_depends_on_the_name(
    name: str, status: str, lane: LiveReleases, tmp_path: Path
) -> None:
    """1.7's key is read by 1.12 and later below ``core_attention`` alone."""
    saved = recorded_state("1.7")
    key = "core_attention.fused_attention._extra_state"
    state = {k: v for k, v in saved.items() if k != key}
    state[f"{name}.fused_attention._extra_state"] = _without_mark(saved[key])
    for key in ("qkv._extra_state", "proj._extra_state"):
        state[key] = _without_mark(saved[key])
    answer = ask(lane, "1.13", read(state, tmp_path))
    assert answer.status == status, answer.detail


def _without_mark(state: io.BytesIO) -> io.BytesIO:
    inside = torch.load(io.BytesIO(state.getvalue()), weights_only=False)
    del inside["extra_fp8_variables"]["buffer_index_and_autocast_key"]
    new = io.BytesIO()
    torch.save(inside, new)
    return new


def test_wrappers_are_part_of_the_name(lane: LiveReleases, tmp_path: Path) -> None:
    state = recorded_state("1.11")
    key = "core_attention._extra_state"
    state["core_attention._checkpoint_wrapped_module._extra_state"] = state.pop(key)
    path = torch_zip(state, tmp_path)
    assert ask(lane, "1.13", layout.find(path).read()).status == "loads"
    needs_source("1.7")
    done = remap(path, tmp_path / "out.pt", "1.7")
    assert "1 of DotProductAttention" in done.verified


def test_quantized_weights_are_answered_for_by_what_is_recorded(tmp_path: Path) -> None:
    """1.11 loads the states of 1.7, and no weight that 1.7 has quantized."""
    path = tmp_path / "model.pt"
    path.write_bytes(recorded_bytes("1.7", "fp8-weights"))
    target = inspect(path, ["1.11"], live=LiveReleases(FetchedSources())).targets[0]
    assert (target.status, target.step) == ("fails", inspect(path, ["1.11"]).targets[0].step)
    assert "at deserialize" in target.detail and "weights were not asked" in target.detail


def test_a_release_without_the_module_is_not_asked(lane: LiveReleases, tmp_path: Path) -> None:
    slots = {"scale_fwd": torch.ones(2) * 3, "amax_history_fwd": torch.ones(4, 2)}
    whole = pickle.dumps({"forward": {**slots, "extra_fp8_variables": {}}})
    payload = torch.frombuffer(bytearray(whole), dtype=torch.uint8)
    answer = ask(
        lane, "1.11", read({"w.weight": torch.ones(2, 2), "w._extra_state": payload}, tmp_path)
    )
    assert answer.status == "unknown"
    assert "has no ops.Linear" in answer.detail


def test_the_file_s_own_pickle_is_never_handed_on(lane: LiveReleases, tmp_path: Path) -> None:
    """An unknown name in a state is a reason not to ask; nothing of it reaches the release."""
    canary = tmp_path / "ran"

    class Harm:
        def __reduce__(self) -> Any:
            return (eval, (f"open({str(canary)!r}, 'w').close()",))

    inside = {"recipe": Harm(), "extra_fp8_variables": {}}
    payload = torch.frombuffer(bytearray(pickle.dumps(inside)), dtype=torch.uint8)
    contents = read({"w": torch.ones(1), "m._extra_state": payload}, tmp_path)
    answer = ask(lane, "2.4", contents)
    assert answer.status == "unknown" and "names" in answer.detail
    report = inspect(tmp_path / "model.pt", ["2.4"], live=lane)
    assert report.targets[0].detail == "not asked: loading it would run code"
    assert not canary.exists()


# The check of a rewritten checkpoint.


class Never(LiveReleases):
    """Releases whose code cannot be had."""

    def ask(self, release: Release, *_arguments: Any, **_options: Any) -> LiveAnswer:
        raise MatrixError("no source")


def checked(contents: Contents, made: list[Edit], release: str) -> tuple[bool, str]:
    written = verify.planned(made)
    return verify.verify(contents, made, written, KNOWN[release], LiveReleases(FetchedSources()))


def test_states_that_do_not_load_are_refused(tmp_path: Path) -> None:
    contents = read(recorded_state("1.11"), tmp_path)
    right = edits.plan(contents, forms.load()["2.0"])
    tried, text = checked(contents, right, "2.3")
    assert tried and "the metadata bit-exact and updated by the next step" in text
    assert "2 of Linear, 1 of DotProductAttention" in text
    wrong = edits.plan(contents, forms.load()["2.0"].model_copy(update={"recipe": False}))
    with pytest.raises(CheckpointError, match="KeyError at load_state_dict: 'recipe'"):
        checked(contents, wrong, "2.3")


def test_an_update_that_was_not_tried_is_not_claimed(tmp_path: Path) -> None:
    """Up to 1.5 there is no function that would make it."""
    needs_source("1.5")
    contents = read(recorded_state("1.11"), tmp_path)
    tried, text = checked(contents, edits.plan(contents, forms.load()["1.0"], drop=["*"]), "1.5")
    assert tried and "hold no metadata" in text
    made = edits.plan(contents, forms.load()["1.0"], drop=["attention"])
    tried, text = checked(contents, made, "1.5")
    assert tried and "bit-exact (no step that would update it was tried): 2 of Linear" in text


@pytest.mark.parametrize("scenario", ["autocast", "attention-only"])
def test_every_state_is_checked_and_not_attention_alone(scenario: str, tmp_path: Path) -> None:
    """The mark left in a linear layer freezes it."""
    contents = read(recorded_state("1.7", scenario), tmp_path)
    made = edits.plan(contents, forms.load()["1.8"])
    assert checked(contents, made, "1.11")[0]
    linear = next(n for n, edit in enumerate(made) if edit.state.key == "qkv._extra_state")
    made[linear] = Edit(made[linear].state, made[linear].new_key, None, ())
    if scenario == "attention-only":
        assert checked(contents, made, "1.11")[0], "a linear without state has no mark"
    else:
        with pytest.raises(CheckpointError, match=r"qkv\._extra_state.*no later step updates them"):
            checked(contents, made, "1.11")


def test_a_key_that_the_release_misses_is_noticed(tmp_path: Path) -> None:
    state = {**recorded_state("2.17.1"), "norm.weight": torch.ones(4)}
    state["norm._extra_state"] = torch.empty(0, dtype=torch.uint8)
    contents = read(state, tmp_path)
    made = edits.plan(contents, forms.load()["1.13"])
    assert checked(contents, made, "1.13")[0]
    dropped = [Edit(e.state, None, None, ()) if "norm" in e.state.key else e for e in made]
    with pytest.raises(CheckpointError, match='Missing key.*"norm._extra_state"'):
        checked(contents, dropped, "1.13")


def test_what_was_not_tried_is_said(tmp_path: Path) -> None:
    contents = read(recorded_state("1.11"), tmp_path)
    made = edits.plan(contents, forms.load()["2.0"])
    lane = Never(FetchedSources())
    tried, text = verify.verify(contents, made, verify.planned(made), KNOWN["2.3"], lane)
    assert (tried, text) == (False, "not tried: no source.")


def test_inspect_live_on_the_command_line(tmp_path: Path) -> None:
    path = torch_zip(recorded_state("1.11"), tmp_path)
    words = ["inspect", str(path), "--target", "2.3", "--live"]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == ExitCode.DEVIATES
    assert "asked of 2.3 (lane cpu)" in shown.output
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert found["targets"][0]["step"] == "Run te-matrix remap IN OUT --to 2.3"
    assert [state["status"] for state in found["live"][0]["states"]] == ["fails"] * 3


# Every save of a whole store, which no repository holds: see test_agreement.py.

STORE = os.environ.get("TE_MATRIX_AGREEMENT_STORE")


@pytest.mark.skipif(STORE is None, reason="TE_MATRIX_AGREEMENT_STORE names no store")
@pytest.mark.parametrize("loader", [release.name for release in KNOWN.releases])
def test_inspect_says_what_the_release_does(
    loader: str, lane: LiveReleases, tmp_path: Path
) -> None:
    store = Store(str(STORE))
    file = tmp_path / "x.pt"
    wrong, agreed = [], 0
    for save in {found[0].state_digest: found[0] for found in store.saves().values()}.values():
        sized = scenarios.load().get(save.scenario)
        data = store.checkpoint(save.file_digest) if save.file_digest else None
        if sized is None or data is None or not plain(sized):
            continue
        file.write_bytes(data)
        contents = layout.find(file).read()
        savers = writers.find(contents, KNOWN, None).releases
        recorded = Predictor(contents, savers, None, Assumed())
        predicted = recorded.as_it_is(KNOWN[loader])
        (answer,), _answers = asked.ask(contents, [KNOWN[loader]], lane, Assumed(), recorded)
        if {predicted.status, answer.status} & {LoadStatus.UNKNOWN, LoadStatus.DEPENDS}:
            continue
        agreed += predicted.status == answer.status
        if predicted.status != answer.status:
            wrong.append(f"{save.scenario} of {save.release}: {predicted} but {answer.detail}")
    assert wrong == []
    assert agreed
