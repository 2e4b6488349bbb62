"""Rule: a state dict in memory gets the answer, and the rewrite, that a file with it gets; weights
are the same objects afterwards, and nothing is unpickled."""

from __future__ import annotations

import collections
import copy
import dataclasses
import io
import pickle
import sys
import types
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from helpers.formats import FORMATS, State, layered, recorded_state
from matrix.catalogue import forms, releases
from matrix.checkpoint import layout
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.in_memory import InMemory
from matrix.checkpoint.rewriting import rewrite_file
from matrix.doctor import (
    CheckpointError,
    CheckpointWarning,
    NoRewriteError,
    check,
    inspect,
    repair,
)
from matrix.errors import UsageError

SAVERS = ("1.5", "1.7", "1.11", "1.14", "2.2.1", "2.17.1")
LOADERS = ("1.5", "1.7", "1.11", "1.14", "2.3", "2.9", "2.20.2")


class Bunch(NamedTuple):
    model: Any
    step: int


class Arguments:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


@dataclasses.dataclass
class ShardedObject:
    """As Megatron-LM's: a value, with the key that it has in a distributed checkpoint."""

    key: str
    data: Any
    global_shape: tuple[int, ...] = (1,)


WRAPPED = {
    "itself": lambda state: state,
    "megatron": lambda state: {"model": state, "iteration": 7, "args": {"tp": 1}},
    "pipeline": lambda state: {"model0": state, "model1": dict(state)},
    "lightning": lambda state: {"state_dict": state, "epoch": 1, "callbacks": {}, "loops": None},
    "list": lambda state: [state, {"lr": 1e-3}],
    "ordered": lambda state: collections.OrderedDict(state),
    "items in lists": lambda state: {
        key: [value] if key.endswith("_extra_state") else value for key, value in state.items()
    },
}


def quiet(state: Any, loaded_by: str, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)
        return check(state, loaded_by, **options)


def of_file(state: Any, folder: Path) -> Path:
    path = folder / "model.pt"
    torch.save(state, path)
    return path


def states(contents: Contents) -> list[tuple[object, ...]]:
    return [
        (s.inside, s.key, s.container, s.tensors, s.problem, s.in_list, s.foreign, s.size, s.holds)
        for s in contents.states
    ]


def same_contents(state: Any, path: Path) -> None:
    memory, file = InMemory(state).read(), layout.find(path).read()
    assert states(memory) == states(file)
    assert memory.keys == file.keys and memory.weights == file.weights
    assert memory.classes == file.classes and memory.rebuilt_from == file.rebuilt_from
    assert len(memory.foreign) == len(file.foreign)


# The same answers as a file.


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize("saver", ["1.7", "2.2.1"])
def test_it_holds_what_a_file_holds(saver: str, wrapped: str, tmp_path: Path) -> None:
    state = WRAPPED[wrapped](layered(recorded_state(saver), 2))
    same_contents(state, of_file(state, tmp_path))


@pytest.mark.parametrize("scenario", ["autocast", "attention-only"])
@pytest.mark.parametrize("saver", SAVERS)
def test_the_answer_is_that_of_the_file(saver: str, scenario: str, tmp_path: Path) -> None:
    state = recorded_state(saver, scenario)
    path = of_file(state, tmp_path)
    same_contents(state, path)
    for target in inspect(path, LOADERS).targets:
        assert quiet(state, target.release) == target


@pytest.mark.parametrize("name", ["lightning", "legacy"])
def test_files_of_frameworks_as_they_are_loaded(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](layered(recorded_state("1.11"), 2), tmp_path)
    same_contents(torch.load(path, weights_only=False), path)


def test_objects_and_unusual_tensors(tmp_path: Path) -> None:
    state = {
        **recorded_state("2.2.1"),
        "strided.weight": torch.arange(12.0).reshape(3, 4).t(),
        "scalar": torch.tensor(3),
        "half._extra_state": torch.ones(3, dtype=torch.float16),
        "own._extra_state": {"vocabulary": [1, 2]},
        "text._extra_state": b"bytes",
        "none._extra_state": None,
        "unsigned": torch.ones(2, dtype=torch.uint16),
        "complex": torch.ones(2, dtype=torch.complex64),
    }
    whole = {"model": state, "args": Arguments(tensor_model_parallel_size=2), 3: "number"}
    same_contents(whole, of_file(whole, tmp_path))


def test_a_state_on_the_device_meta_is_unreadable_and_not_fatal() -> None:
    state = {**recorded_state("2.2.1")}
    key = next(key for key in state if key.endswith("qkv._extra_state"))
    state[key] = state[key].to("meta")
    (broken,) = [s for s in InMemory(state).read().states if s.problem]
    assert broken.key == key


def test_what_refers_to_itself_ends() -> None:
    state: dict[str, Any] = {"model": recorded_state("1.7"), "hooks": print, "torch": torch}
    state["self"] = state
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    state["deep"] = deep
    assert len(InMemory(state).read().states) == 3
    made = repair(state, to="2.9")
    assert made["hooks"] is print and made["self"] is made and made is not state


def quantized(monkeypatch: pytest.MonkeyPatch) -> type:
    """The class of a quantized weight, pickled as that of 2.x is, and nothing else of it."""
    path = "transformer_engine.pytorch.tensor.float8_tensor"
    modules = {
        name: types.ModuleType(name)
        for name in (
            "transformer_engine",
            "transformer_engine.pytorch",
            "transformer_engine.pytorch.tensor",
            path,
            "transformer_engine_torch",
        )
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    dtype = type("DType", (), {"__module__": "transformer_engine_torch"})
    dtype.__reduce__ = lambda self: (dtype, (0,))  # type: ignore[method-assign]

    def parts(self: Any, _protocol: int) -> Any:
        data = torch.ones(4, dtype=torch.uint8)
        made = type(self)._make_in_reduce_ex
        return made, (data, dtype(), torch.ones(1), torch.bfloat16, (2, 2))

    body = {
        "__module__": path,
        "__qualname__": "Float8Tensor",
        "__reduce_ex__": parts,
        "_make_in_reduce_ex": classmethod(lambda cls, *given: given[0]),
    }
    kind = type("Float8Tensor", (torch.Tensor,), body)
    kind._make_in_reduce_ex.__func__.__name__ = "_make_in_reduce_ex"
    kind._make_in_reduce_ex.__func__.__qualname__ = "Float8Tensor._make_in_reduce_ex"
    modules[path].Float8Tensor = kind  # type: ignore[attr-defined]
    modules["transformer_engine_torch"].DType = dtype  # type: ignore[attr-defined]
    return kind


def test_quantized_weights_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.ones(2, 2).as_subclass(quantized(monkeypatch))
    state = {"weight": weight, **recorded_state("2.2.1")}
    same_contents(state, of_file(state, tmp_path))
    assert InMemory(state).read().weights


@pytest.mark.parametrize("drop", [False, True])
def test_quantized_weights_of_another_form_are_refused(
    drop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their classes are those of the release that is imported: only a file can be rewritten."""
    weight = torch.ones(2, 2).as_subclass(quantized(monkeypatch))
    state = {"weight": weight, **recorded_state("2.2.1")}
    with pytest.raises(NoRewriteError, match="te-matrix remap IN OUT --to 1.11"):
        repair(state, to="1.11", drop_fp8_state=drop)


# Warnings.


@pytest.mark.parametrize(
    ("saver", "loader", "said"),
    [
        ("1.7", "1.11", "resets"),
        ("1.7", "1.7", "no step will update"),
        ("1.11", "2.3", "KeyError"),
        ("2.2.1", "1.7", "does not load"),
    ],
)
def test_it_warns_where_state_is_lost(saver: str, loader: str, said: str) -> None:
    with pytest.warns(CheckpointWarning, match=said) as caught:
        check(recorded_state(saver), loader)
    assert Path(caught[0].filename) == Path(__file__)


def test_it_is_silent_where_all_loads() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(recorded_state("1.11"), "1.11").status == "loads"
        check({"weight": torch.ones(2)}, "2.9")


def test_the_warning_names_the_line_that_mends_it() -> None:
    with pytest.warns(CheckpointWarning, match=r'repair\(state_dict, to="2\.3"\)'):
        check(recorded_state("1.11"), "2.3")


def test_the_installed_release_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from matrix.lane import installed

    release = releases.load()["1.11"]
    monkeypatch.setattr(
        installed, "find", lambda _known: installed.InstalledRelease(release, Path())
    )
    assert check(recorded_state("1.11")).release == "1.11"


def test_unknown_releases_are_refused() -> None:
    with pytest.raises(UsageError):
        check({}, "9.9")
    with pytest.raises(UsageError):
        repair({}, to="9.9")


# Nothing is unpickled.


class Harmful:
    def __reduce__(self) -> Any:
        return exec, ("open('te-matrix-canary', 'w')",)


def harmful() -> State:
    data = bytearray(pickle.dumps({"recipe": Harmful()}))
    return {"a.core_attention._extra_state": torch.frombuffer(data, dtype=torch.uint8)}


def test_what_loading_would_run_is_named_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(harmful(), "2.9")
    assert any("import or call builtins.exec()" in str(each.message) for each in caught)
    with pytest.raises(CheckpointError, match=r"builtins\.exec\(\)"):
        repair(harmful(), to="2.9")
    assert not list(tmp_path.iterdir())


# Rewriting.

REPAIRS = [("1.7", "1.11"), ("1.7", "2.9"), ("1.11", "2.3"), ("2.2.1", "1.7"), ("2.17.1", "1.14")]


def rewritten(state: State, to: str, folder: Path) -> State:
    """The state dict after the file was rewritten."""
    form = forms.read_by(releases.load()[to].version)
    assert form is not None
    path = of_file(state, folder)
    rewrite_file(path, folder / "new.pt", form)
    return torch.load(folder / "new.pt", weights_only=False)


def equal(left: Any, right: Any) -> bool:
    if isinstance(left, io.BytesIO):
        return left.getvalue() == right.getvalue()
    return left.dtype == right.dtype and torch.equal(left, right)


@pytest.mark.parametrize(("saver", "to"), REPAIRS)
def test_the_rewrite_is_that_of_the_file(saver: str, to: str, tmp_path: Path) -> None:
    state = recorded_state(saver)
    made, expected = repair(state, to=to), rewritten(state, to, tmp_path)
    assert list(made) == list(expected)
    assert all(equal(made[key], expected[key]) for key in expected)
    assert not quiet(made, to).harm or quiet(made, to).opt_in


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_containers_stay_and_weights_are_the_same_objects(wrapped: str) -> None:
    state = WRAPPED[wrapped](layered(recorded_state("1.7"), 2))
    before = copy.deepcopy(states(InMemory(state).read()))
    made = repair(state, to="2.3")
    assert type(made) is type(state) and made is not state
    assert states(InMemory(state).read()) == before
    old, new = tensors(state), tensors(made)
    assert old and old.keys() == new.keys()
    assert all(new[key] is old[key] for key in old)


def tensors(value: Any, place: str = "") -> dict[str, Any]:
    """The tensors that are no extra states, by their place."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, Any] = {}
    for key, item in items:
        if isinstance(item, (dict, list)):
            found |= tensors(item, f"{place}/{key}")
        elif isinstance(item, torch.Tensor) and "_extra_state" not in str(key):
            found[f"{place}/{key}"] = item
    return {k: v for k, v in found.items() if "_extra_state" not in k}


def test_attributes_of_a_state_dict_of_pytorch_s_are_kept() -> None:
    state = collections.OrderedDict(recorded_state("1.7"))
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    assert repair(state, to="2.3")._metadata == {"": {"version": 1}}  # type: ignore[attr-defined]


def test_named_tuples_and_objects() -> None:
    whole = Bunch(Arguments(module={"state": recorded_state("1.7")}, name="x"), 3)
    made = repair(whole, to="2.3")
    assert isinstance(made, Bunch) and made.step == 3 and made.model.name == "x"
    assert "core_attention._extra_state" in made.model.module["state"]
    assert "core_attention.fused_attention._extra_state" in whole.model.module["state"]


def test_megatron_s_sharded_objects_are_rewritten_inside() -> None:
    state = {
        key: ShardedObject(f"decoder.layers.self_attention.{key}", value)
        if key.endswith("_extra_state")
        else value
        for key, value in recorded_state("1.7").items()
    }
    assert quiet(state, "1.11").status == "resets"
    made = repair(state, to="1.11")
    moved = made["core_attention._extra_state"]
    assert isinstance(moved, ShardedObject) and moved.key.endswith(".core_attention._extra_state")
    assert isinstance(moved.data, torch.Tensor)
    assert state["core_attention.fused_attention._extra_state"].key.endswith(
        "fused_attention._extra_state"
    )


def test_what_needs_no_rewrite_is_returned_itself() -> None:
    state = recorded_state("1.11")
    assert repair(state, to="1.11") is state


def test_without_a_known_rewrite_it_refuses() -> None:
    with pytest.raises(NoRewriteError):
        repair({"weight": torch.ones(1)}, to="2.3")


def test_the_fp8_state_can_be_given_up() -> None:
    made = repair(recorded_state("2.2.1"), to="1.5", drop_fp8_state=True)
    assert "core_attention._extra_state" not in made
    assert {s.holds for s in InMemory(made).read().states} == {"nothing"}


def test_a_harmless_stranger_is_left_alone() -> None:
    own = {"vocabulary": [1, 2]}
    state = {**recorded_state("1.7"), "tokenizer._extra_state": own}
    assert repair(state, to="2.3")["tokenizer._extra_state"] is own
