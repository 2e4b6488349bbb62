"""Rule: what ``inspect`` says of a checkpoint follows from each of its extra states.

One test for each kind of state that checkpoints are met with; the files are made of what releases
saved, as it is recorded.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from helpers.formats import State, recorded_state, torch_zip
from matrix.catalogue import forms
from matrix.checkpoint import edits, layout
from matrix.checkpoint.words import Step
from matrix.cli import main
from matrix.doctor import Inspection, inspect, verify
from matrix.errors import ExitCode

ATTENTION = "core_attention._extra_state"


def te_matrix(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})


def held(state: io.BytesIO) -> dict[str, Any]:
    """The content of an extra state of 1.13 or older, which names no class of TE."""
    content: dict[str, Any] = torch.load(io.BytesIO(state.getvalue()), weights_only=False)
    return content


def saved(content: dict[str, Any]) -> io.BytesIO:
    new = io.BytesIO()
    torch.save(content, new)
    return new


def changed(state: State, change: Callable[[dict[str, Any]], None]) -> State:
    """A state dict with the content of every extra state changed."""
    made = dict(state)
    for key in (key for key in state if key.endswith("_extra_state")):
        content = held(state[key])
        change(content)
        made[key] = saved(content)
    return made


def status(state: State, folder: Path, target: str, **more: Any) -> tuple[str, str]:
    (found,) = inspect(torch_zip(state, folder), [target], **more).targets
    return found.status.value, found.detail


def below(prefix: str, state: State) -> State:
    return {f"{prefix}.{key}": value for key, value in state.items()}


def statuses(report: Inspection) -> dict[str, str]:
    return {target.release: target.status.value for target in report.targets}


# The length of the amax history.


def test_another_history_than_the_recipe_has(tmp_path: Path) -> None:
    state = recorded_state("1.11", "history-16")
    path = torch_zip(state, tmp_path)
    shown = te_matrix("inspect", path, "--target", "2.4", "--json")
    (found,) = json.loads(shown.output)["targets"]
    assert shown.exit_code == ExitCode.DEVIATES
    assert found["status"] == "fails" and found["history"] is None
    assert "RuntimeError at load_state_dict" in found["detail"]
    assert "(1024)" in found["detail"] and "(16)" in found["detail"]
    assert "remap IN OUT --to 2.4" in found["step"]
    assert status(state, tmp_path, "1.12")[0] == "loads"


def test_the_recipe_can_have_the_states_own_history(tmp_path: Path) -> None:
    state = recorded_state("2.2.1", "history-16")
    path = torch_zip(state, tmp_path)
    (found,) = inspect(path, ["2.17"]).targets
    assert found.status == "fails" and found.history == 16
    assert found.step == "Load under a recipe with amax_history_len = 16"
    assert status(state, tmp_path, "2.17", history=16)[0] == "loads"
    shown = te_matrix("inspect", path, "--target", "2.17", "--history", "16")
    assert shown.exit_code == ExitCode.OK
    assert "amax_history_len 16 (--history), where the states have 16" in shown.output


def resized(length: int) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for name in ("amax_history_fwd", "amax_history_bwd"):
            content[name] = torch.ones(length, content[name].shape[1])

    return change


def test_a_history_of_a_length_that_no_scenario_has(tmp_path: Path) -> None:
    """Two lengths that do the same stand for every other; where they do not, it is not known."""
    state = changed(recorded_state("1.11"), resized(512))
    assert status(state, tmp_path, "1.11", history=512)[0] == "loads"
    assert status(state, tmp_path, "2.2")[0] == "fails"
    assert status(state, tmp_path, "2.2")[1].startswith("as seen of other lengths")
    found, detail = status(state, tmp_path, "2.4")
    assert found == "unknown" and "length of the amax history" in detail


# Norms.


def with_norm(release: str, state: Any = None) -> State:
    """A model with an attention block and a norm of its own."""
    norm: State = {"norm.weight": torch.ones(64)}
    if state is not None:
        norm["norm._extra_state"] = state
    return {**norm, **below("attn", recorded_state(release))}


def empty_dict() -> torch.Tensor:
    return torch.frombuffer(bytearray(pickle.dumps({})), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("release", "norm", "target", "expected"),
    [
        ("1.11", None, "1.11", "loads"),
        ("1.11", None, "1.13", "fails"),
        ("1.11", None, "2.4", "fails"),
        ("1.11", torch.Tensor(), "1.12", "fails"),  # as 1.13 saves it
        ("1.11", torch.Tensor(), "1.13", "loads"),
        ("2.0", empty_dict(), "1.12", "fails"),
        ("2.0", empty_dict(), "2.3", "loads"),
        ("2.17.1", torch.empty(0, dtype=torch.uint8), "1.12", "fails"),
        ("2.17.1", torch.empty(0, dtype=torch.uint8), "2.17", "loads"),
        ("2.17.1", None, "2.17", "loads"),  # no norm of Transformer Engine's
    ],
)
def test_norms(release: str, norm: Any, target: str, expected: str, tmp_path: Path) -> None:
    found, detail = status(with_norm(release, norm), tmp_path, target)
    assert found == expected, detail
    if expected == "fails" and (norm is None or (target == "1.12" and release == "1.11")):
        assert "key(s) in state_dict: norm._extra_state" in detail


# Attention under any name, and modules without attention.


@pytest.mark.parametrize(
    ("release", "target", "expected"),
    [
        ("2.2.1", "1.7", "fails"),
        ("2.2.1", "2.3", "loads"),
        ("1.7", "1.8", "fails"),  # outside of core_attention a missing key is not forgiven
        ("1.7", "1.12", "fails"),
        ("1.8", "1.12", "loads"),
    ],
)
def test_attention_under_another_name(
    release: str, target: str, expected: str, tmp_path: Path
) -> None:
    state = {k.replace("core_attention", "dpa"): v for k, v in recorded_state(release).items()}
    report = inspect(torch_zip(state, tmp_path), [target])
    assert [module.key for module in report.modules if module.attention] == [
        next(key for key in state if "dpa" in key)
    ]
    assert not report.nothing_to_lose
    assert report.targets[0].status == expected, report.targets[0]


@pytest.mark.parametrize(
    "wrapper", ["_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_orig_mod", "module"]
)
def test_names_of_wrappers_are_seen_through(wrapper: str, tmp_path: Path) -> None:
    state = {
        key.replace("core_attention", f"core_attention.{wrapper}"): value
        for key, value in recorded_state("1.7").items()
    }
    plain = inspect(torch_zip(recorded_state("1.7"), tmp_path))
    assert statuses(inspect(torch_zip(state, tmp_path))) == statuses(plain)


def test_the_mark_of_registration_is_in_every_module(tmp_path: Path) -> None:
    state = recorded_state("1.7", "layernorm-mlp")
    report = inspect(torch_zip(state, tmp_path), ["1.11", "2.3"])
    assert [module.modules for module in report.modules] == [("LayerNormMLP",)]
    assert report.modules[0].marked
    assert report.target("1.11").status == "frozen"
    assert "remap IN OUT --to 1.11" in report.target("1.11").step


def test_linears_alone(tmp_path: Path) -> None:
    state = below("fc", recorded_state("2.2.1", "linear"))
    report = inspect(torch_zip(state, tmp_path), ["1.11", "2.3"])
    assert [module.modules for module in report.modules] == [("Linear",)]
    assert (report.target("1.11").status, report.target("2.3").status) == ("fails", "loads")
    assert report.target("2.3").seen_in == ("linear",)


def test_a_grouped_linear_of_any_size(tmp_path: Path) -> None:
    """Its number of scales is the model's choice; those that were seen do the same."""
    content = held(recorded_state("1.11", "linear")["_extra_state"])
    for way, count in (("fwd", 24), ("bwd", 16)):
        content[f"scale_{way}"] = content[f"scale_inv_{way}"] = torch.full((count,), 2.0)
        content[f"amax_history_{way}"] = torch.ones(1024, count)
    weights = {f"weight{number}": torch.ones(4, 4) for number in range(8)}
    state = below("experts", {**weights, "_extra_state": saved(content)})
    report = inspect(torch_zip(state, tmp_path), ["1.11", "2.3", "2.17"])
    assert [module.modules for module in report.modules] == [("GroupedLinear",)]
    assert statuses(report) == {"1.11": "loads", "2.3": "fails", "2.17": "loads"}


def test_operations(tmp_path: Path) -> None:
    """Their states have forward and backward below one another."""
    state = recorded_state("2.17.1", "ops-linear")
    report = inspect(torch_zip(state, tmp_path), ["1.14", "2.17.1", "2.17"])
    linear, bias = report.modules
    assert (linear.modules, linear.slots, linear.history) == (("ops.Linear",), (2, 1), 1024)
    assert (linear.holds, bias.holds) == ("metadata", "nothing")
    assert report.target("2.17").status == "loads"
    assert report.target("1.14").harm
    assert not report.nothing_to_lose


# Recipes.


@pytest.mark.parametrize(
    ("scenario", "recipe", "first"),
    [
        ("mha.current-scaling", "Float8CurrentScaling", "2.2"),
        ("mha.mxfp8", "MXFP8BlockScaling", "2.0"),
    ],
)
def test_recipes(scenario: str, recipe: str, first: str, tmp_path: Path) -> None:
    """A release that lacks the class of the recipe fails; the others have nothing to reset."""
    report = inspect(torch_zip(recorded_state("2.2.1", scenario), tmp_path))
    assert {module.recipe for module in report.modules} == {recipe}
    assert report.nothing_to_lose
    found = statuses(report)
    assert found["1.14"] == "fails" and found[first] == found["2.7"] == "loads"
    assert any(f"the recipe is a {recipe}" in reason for reason in report.reasons)


def test_a_state_loaded_under_another_recipe(tmp_path: Path) -> None:
    state = recorded_state("2.2.1")
    assert status(state, tmp_path, "2.3")[0] == "loads"
    found, detail = status(state, tmp_path, "2.3", recipe="Float8CurrentScaling")
    assert found == "resets" and "nothing of its scales" in detail
    found, detail = status(state, tmp_path, "2.1", recipe="Float8CurrentScaling")
    assert found == "unknown" and "Float8CurrentScaling, which is there from 2.2 on" in detail
    shown = te_matrix("inspect", tmp_path / "model.pt", "--recipe", "NoSuchScaling")
    assert shown.exit_code == ExitCode.USAGE and shown.output.count("\n") == 1


# What becomes of states on the way.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int16])
def test_a_state_that_was_cast_as_a_whole(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {key: value.to(dtype) for key, value in recorded_state("2.2.1").items()}
    report = inspect(torch_zip(state, tmp_path), ["2.3", "1.11"])
    name = str(dtype).removeprefix("torch.")
    assert {module.cast for module in report.modules} == {name}
    assert {module.holds for module in report.modules} == {"metadata"}
    assert report.target("2.3").status == report.target("1.11").status == "unknown"
    assert report.target("2.3").detail.startswith(f"it was cast to {name}")
    assert "cast back: loads" in report.target("2.3").detail
    assert "cast back: fails" in report.target("1.11").detail
    assert any(f"cast from bytes to {name}" in n and "is exact" in n for n in report.notes)


def test_scales_that_were_cast(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["scale_fwd"] = content["scale_fwd"].bfloat16()

    report = inspect(torch_zip(changed(recorded_state("1.11"), change), tmp_path), ["1.12"])
    assert report.target("1.12").status == "unknown"
    assert "dtype bfloat16/float32, not float32" in report.target("1.12").detail
    assert any("what a cast has rounded is lost" in note for note in report.notes)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_overflow_in_the_history(number: float, tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["amax_history_fwd"][0, 0] = number

    state = recorded_state("1.7")
    report = inspect(torch_zip(changed(state, change), tmp_path))
    assert statuses(report) == statuses(inspect(torch_zip(state, tmp_path)))


@pytest.mark.parametrize("own", [{"step": 3}, torch.ones(3), "text", [1, 2]])
def test_states_of_others(own: Any, tmp_path: Path) -> None:
    state = below("attn", recorded_state("2.2.1"))
    plain = inspect(torch_zip(state, tmp_path))
    report = inspect(torch_zip({**state, "own._extra_state": own}, tmp_path))
    assert statuses(report) == statuses(plain)
    assert all(module.key != "own._extra_state" for module in report.modules)
    assert any("not Transformer Engine's: own._extra_state" in note for note in report.notes)


def test_a_state_like_none_that_was_seen(tmp_path: Path) -> None:
    """A field that no release saves: nothing is known, and it is said in what it differs."""

    def change(content: dict[str, Any]) -> None:
        content["zero_point"] = torch.zeros(3)

    state = changed(recorded_state("1.11", "linear"), change)
    shown = te_matrix("inspect", torch_zip(state, tmp_path), "--target", "1.12", "--json")
    (found,) = json.loads(shown.output)["targets"]
    assert shown.exit_code == ExitCode.INCOMPLETE
    assert found["status"] == "unknown" and "zero_point" in found["detail"]


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (1,)])
def test_scales_of_another_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    """As many scales in another shape are not what any release saves."""

    def change(content: dict[str, Any]) -> None:
        content["scale_fwd"] = torch.full(shape, 2.0)

    state = changed(recorded_state("1.11", "linear"), change)
    assert status(state, tmp_path, "1.12")[0] == "unknown"


def test_a_part_that_is_unlike_is_not_covered_by_the_others(tmp_path: Path) -> None:
    state = recorded_state("1.11")
    content = {**held(state[ATTENTION]), "zero_point": torch.zeros(3)}
    found, detail = status({**state, ATTENTION: saved(content)}, tmp_path, "1.12")
    assert found == "unknown" and detail.endswith(f"({ATTENTION})")


def test_a_checkpoint_of_two_releases(tmp_path: Path) -> None:
    """No release saved all of it; each part has its own answer."""
    state = {
        **below("old", recorded_state("1.7", "linear")),
        **below("new", recorded_state("2.2.1", "linear")),
    }
    report = inspect(torch_zip(state, tmp_path), ["2.3", "1.11", "2.4"])
    assert report.savers == ()
    assert statuses(report) == {"2.3": "fails", "1.11": "fails", "2.4": "frozen"}


def test_a_checkpoint_from_before_attention_had_states(tmp_path: Path) -> None:
    """What its model calls attention is not in the file: that is said."""
    path = torch_zip(recorded_state("1.5"), tmp_path)
    later, same = inspect(path, ["1.12", "1.5"]).targets
    assert later.status == "loads" and "under another name than core_attention" in later.detail
    assert same.status == "loads" and "another name" not in same.detail


# Exit codes.


@pytest.mark.parametrize(
    ("release", "target", "code"),
    [
        ("1.11", "1.12", ExitCode.OK),
        ("1.11", "2.2", ExitCode.DEVIATES),  # fails
        ("1.7", "1.11", ExitCode.DEVIATES),  # resets
        ("1.7", "1.12", ExitCode.DEVIATES),  # freezes
        ("1.11", "9.9", ExitCode.USAGE),
    ],
)
def test_exit_codes(release: str, target: str, code: ExitCode, tmp_path: Path) -> None:
    path = torch_zip(recorded_state(release), tmp_path)
    assert te_matrix("inspect", path, "--target", target).exit_code == code
    assert te_matrix("inspect", path).exit_code == ExitCode.OK


# Changed on the way, or left out.

ARRIVALS: dict[str, Callable[[Any], Any]] = {
    "a NumPy array": lambda value: value.numpy(),
    "bytes": lambda value: value.numpy().tobytes(),
    "a list of numbers": lambda value: value.tolist(),
}


def with_states(state: State, turn: Callable[[Any], Any]) -> State:
    return {k: turn(v) if k.endswith("_extra_state") else v for k, v in state.items()}


@pytest.mark.usefixtures("not_tried")
@pytest.mark.parametrize("what", ARRIVALS)
def test_a_state_that_is_no_tensor_any_more(what: str, tmp_path: Path) -> None:
    before = recorded_state("2.0")
    path = torch_zip(with_states(before, ARRIVALS[what]), tmp_path)
    report = inspect(path, ["2.0"])
    assert any(f"3 extra states saved as {what}: qkv._extra_state" in n for n in report.notes)
    assert [module.holds.value for module in report.modules] == ["metadata"] * 3
    (found,) = report.targets
    assert found.status == "unknown" and "turned back: loads" in found.detail
    assert "remap IN OUT --to 2.0" in found.step
    planned = edits.plan(layout.find(path).read(), forms.load()["2.0"])
    assert all(edit.payload and Step.UNDO_CAST in edit.steps for edit in planned)
    after = {state.key: state.tensors for state in verify.planned(planned).values()}
    states = layout.find(torch_zip(before, tmp_path)).read().states
    assert after == {state.key: state.tensors for state in states}


def test_a_buffer_that_became_bytes(tmp_path: Path) -> None:
    path = torch_zip(with_states(recorded_state("1.7"), io.BytesIO.getvalue), tmp_path)
    report = inspect(path, ["1.11"])
    assert {module.cast for module in report.modules} == {"bytes"}
    assert all(module.marked for module in report.modules)


def test_a_state_without_content(tmp_path: Path) -> None:
    path = torch_zip(with_states(recorded_state("2.0"), lambda v: v.to("meta")), tmp_path)
    report = inspect(path, ["2.0"])
    assert {m.problem for m in report.modules} == {"it is on the device meta, without content"}
    assert report.targets[0].status == "unknown" and not report.nothing_to_lose
    shown = te_matrix("inspect", path).output
    assert "3 states cannot be read, and may hold some" in shown


@pytest.mark.parametrize("target", ["1.7", "1.11", "2.3", "2.18"])
def test_states_that_others_like_them_have(target: str, tmp_path: Path) -> None:
    """What lacks the states of a layer is never said to load."""
    whole, bare = recorded_state("1.11"), recorded_state("1.11")
    bare = {key: value for key, value in bare.items() if not key.endswith("_extra_state")}
    state = {**below("layers.0", whole), **below("layers.1", bare)}
    found, detail = status(state, tmp_path, target)
    assert found != "loads"
    assert "layers.1.qkv._extra_state, layers.1.proj._extra_state" in detail
    # A module of another name, or with other tensors, need not be Transformer Engine's.
    other = {key.replace("qkv", "lora").replace("proj", "head"): v for key, v in bare.items()}
    assert (
        "strict loading fails"
        not in status({**below("layers.0", whole), **below("layers.1", other)}, tmp_path, target)[1]
    )


def test_linears_of_another_length_beside_attention_without_state(tmp_path: Path) -> None:
    """An error that any length raises is not put down to the state beside it."""
    state = recorded_state("1.11", "history-16")
    state[ATTENTION] = saved(None)  # type: ignore[arg-type]
    for target in ("2.3", "2.18"):
        assert status(state, tmp_path, target)[0] == "fails"


def test_a_module_that_the_release_lacks(tmp_path: Path) -> None:
    found, detail = status(recorded_state("1.11", "grouped-linear"), tmp_path, "1.7")
    assert found == "unknown"
    assert detail.startswith("this release has no GroupedLinear, which is there from 1.9 on")


def test_states_of_several_releases_are_said_to_be(tmp_path: Path) -> None:
    state = {**below("a", recorded_state("1.11")), **below("b", recorded_state("2.0"))}
    assert (
        "written by: no single release" in te_matrix("inspect", torch_zip(state, tmp_path)).output
    )
