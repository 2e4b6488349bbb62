"""Rule: an extra state that is not Transformer Engine's is said to be so, and is left alone."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.formats import recorded_state, torch_zip
from matrix.doctor import CheckpointError, inspect, remap

pytestmark = pytest.mark.usefixtures("not_tried")


def in_bytes(value: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)


def in_a_buffer(value: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer


OWN: dict[str, Any] = {
    "dict": {"seen": 7},
    "dict of a state": {"scale": torch.ones(3), "seen": 7},
    "int": 7,
    "text": "seven",
    "bytes": b"\x00\x01",
    "list": [1, 2],
    "list of one": [{"seen": 7}],
    "tuple": (1, {"seen": 7}),
    "set": {1, 2},
    "float tensor": torch.ones(3),
    "int8 tensor": torch.ones(3, dtype=torch.int8),
    "random state": torch.Generator().manual_seed(7).get_state(),
    "random state that begins as a pickle": torch.Generator().manual_seed(0x7780).get_state(),
    "pickled dict": in_bytes({"seen": 7}),
    "pickled dict with a name like an operation's": in_bytes({"input": 7}),
    "pickled list": in_bytes([1, 2]),
    "dict in a buffer": in_a_buffer({"seen": 7}),
    "bytes in a buffer": io.BytesIO(b"\x93NUMPY and so on"),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, io.BytesIO):
        return one.getvalue() == other.getvalue()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(one == other)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", OWN)
def test_it_is_told_and_left_alone(name: str, legacy: bool, tmp_path: Path) -> None:
    whole = {"model": {**recorded_state("1.7"), "own._extra_state": OWN[name]}}
    path = tmp_path / "x.pt"
    torch.save(whole, path, _use_new_zipfile_serialization=not legacy)
    report = inspect(path, ["1.11"])
    assert len(report.modules) == 3
    assert report.keys == 8 + (name == "dict of a state"), "a tensor below it is a key, too"
    assert report.savers == ("1.6", "1.7")
    assert sum("own._extra_state" in note for note in report.notes) == 1
    for number, drop in enumerate((False, True)):
        done = remap(path, tmp_path / f"{number}.pt", "1.11", drop_fp8_state=drop)
        assert "own._extra_state" not in {change.key for change in done.changes}
        after = torch.load(done.out, weights_only=False)["model"]
        assert same(OWN[name], after["own._extra_state"])


def test_of_a_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    own = {k: v for k, v in OWN.items() if isinstance(v, torch.Tensor)}
    state = {**recorded_state("2.17.1"), **{f"{k}._extra_state": v for k, v in own.items()}}
    save_file(state, tmp_path / "x.safetensors")
    report = inspect(tmp_path / "x.safetensors", ["1.11"])
    assert len(report.modules) == 3 and report.keys == len(state)
    for drop in (False, True):
        out = tmp_path / f"{drop}.safetensors"
        after = load_file(remap(tmp_path / "x.safetensors", out, "1.11", drop_fp8_state=drop).out)
        for key, value in own.items():
            assert torch.equal(value, after[f"{key}._extra_state"])


def test_nothing_else_is_there(tmp_path: Path) -> None:
    path = torch_zip({"own._extra_state": {"seen": 7}}, tmp_path)
    report = inspect(path, ["1.11"])
    assert report.modules == () and report.targets[0].status == "unknown"
    assert not any("no key that ends in" in note for note in report.notes)


@pytest.mark.parametrize("name", OWN)
def test_where_attention_keeps_its_state_nothing_is_foreign(name: str, tmp_path: Path) -> None:
    """Whatever lies there, the release takes it for its own: nobody may say that it loads."""
    state = {**recorded_state("1.11"), "core_attention._extra_state": OWN[name]}
    path = torch_zip(state, tmp_path)
    (core,) = [m for m in inspect(path, ["1.11"]).modules if m.attention]
    assert core.holds == "unreadable"
    with pytest.raises(CheckpointError, match="cannot be decoded"):
        remap(path, tmp_path / "new.pt", "2.3", saved_by="1.11")


@pytest.mark.parametrize("damage", ["cut short", "zeros"])
def test_a_damaged_state_is_not_foreign(damage: str, tmp_path: Path) -> None:
    state = recorded_state("1.11")
    data = state["qkv._extra_state"].getvalue()
    new = data[:-100] if damage == "cut short" else bytes(len(data))
    state["qkv._extra_state"] = io.BytesIO(new)
    path = torch_zip(state, tmp_path)
    (module,) = [m for m in inspect(path, ["2.3"]).modules if m.key == "qkv._extra_state"]
    assert module.holds == "unreadable" and module.problem


def test_hostile_names_in_it_are_told_all_the_same(tmp_path: Path) -> None:
    own = torch.frombuffer(bytearray(b"\x80\x02cos\nsystem\n."), dtype=torch.uint8)
    path = torch_zip({**recorded_state("1.11"), "own._extra_state": own}, tmp_path)
    assert "os.system" in str(inspect(path, ["1.11"]).warnings)
