"""Rule: a state that is written anew is read as what it was, and nothing else is written."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.formats import recorded_state, torch_zip
from matrix.checkpoint import copies, layout, nodes
from matrix.checkpoint.copies import Uncopied
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import StateContainer


def read(state: dict[str, Any], folder: Path) -> list[ExtraState]:
    return layout.find(torch_zip(state, folder)).read().states


def again(states: list[ExtraState], folder: Path) -> list[ExtraState]:
    path = folder / "again.pt"
    path.write_bytes(copies.file_of({state.key: state for state in states}))
    return layout.find(path).read().states


def facts(state: ExtraState) -> tuple[Any, ...]:
    tensors = {n: (t.dtype, t.shape, t.data) for n, t in state.tensors.items()}
    return state.key, state.container, state.cast, list(state.fields or ()), tensors


@pytest.mark.parametrize("scenario", ["autocast", "attention-only"])
@pytest.mark.parametrize("release", ["1.5", "1.7", "1.11", "1.14", "2.0", "2.17.1"])
def test_what_releases_save_is_the_same_once_it_is_written_anew(
    release: str, scenario: str, tmp_path: Path
) -> None:
    before = read(recorded_state(release, scenario), tmp_path)
    for old, new in zip(before, again(before, tmp_path), strict=True):
        assert facts(new) == facts(old)
        assert list(new.extra) == list(old.extra)
        assert nodes.same(list(new.extra.values()), list(old.extra.values()))
        assert nodes.same(new.recipe, old.recipe)


@pytest.mark.parametrize("release", ["1.7", "1.11", "1.14"])
def test_pytorch_reads_what_is_written(release: str, tmp_path: Path) -> None:
    saved = recorded_state(release)
    copied = copies.file_of({s.key: s for s in read(saved, tmp_path)})
    found = torch.load(io.BytesIO(copied), weights_only=False)
    for key, value in found.items():
        assert type(value) is type(saved[key])
        if isinstance(value, io.BytesIO):
            saved[key].seek(0)
            old, new = (torch.load(v, weights_only=True) for v in (saved[key], value))
        else:
            old, new = (pickle.loads(v.numpy().tobytes()) for v in (saved[key], value))
        assert old.keys() == new.keys()
        assert torch.equal(old["scale_fwd"], new["scale_fwd"])
        assert torch.equal(old["amax_history_bwd"], new["amax_history_bwd"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "int64"])
def test_a_cast_is_written_as_a_cast(dtype: str, tmp_path: Path) -> None:
    whole = recorded_state("2.17.1")["qkv._extra_state"].to(getattr(torch, dtype))
    before = read({"w": torch.ones(1), "qkv._extra_state": whole}, tmp_path)
    assert before[0].cast == dtype
    copied = copies.file_of({before[0].key: before[0]})
    found = torch.load(io.BytesIO(copied), weights_only=False)["qkv._extra_state"]
    assert found.dtype == whole.dtype
    (after,) = again(before, tmp_path)
    assert facts(after) == facts(before[0])


@pytest.mark.parametrize(
    "empty", [None, torch.Tensor(), torch.empty(0, dtype=torch.uint8)], ids=["None", "f32", "u8"]
)
def test_nothing_is_written_as_the_nothing_that_it_was(empty: Any, tmp_path: Path) -> None:
    before = read({"w": torch.ones(1), "m._extra_state": empty}, tmp_path)
    (after,) = again(before, tmp_path)
    assert (after.container, after.fields) == (before[0].container, None)


def test_no_other_name_is_written(tmp_path: Path) -> None:
    (plain,) = read({"m._extra_state": recorded_state("2.17.1")["qkv._extra_state"]}, tmp_path)
    assert plain.fields is not None
    foreign = nodes.Call("REDUCE", nodes.Global("os", "system"), ("true",))
    plain.fields["recipe"] = foreign
    with pytest.raises(Uncopied, match=r"names os\.system"):
        copies.file_of({"m": plain})
    assert copies.file_of({"m": plain}, allowed=["os.system"])


def test_what_cannot_be_decoded_is_not_written(tmp_path: Path) -> None:
    broken = ExtraState("m._extra_state", "x", StateContainer.BYTE_TENSOR, problem="cut short")
    with pytest.raises(Uncopied, match="cut short"):
        copies.file_of({"m": broken})
