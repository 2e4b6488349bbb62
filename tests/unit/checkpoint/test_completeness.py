"""Rule: a folder that lacks a file, or holds more than one checkpoint, is refused by name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from helpers import layouts
from helpers.formats import recorded_state
from matrix.checkpoint import layout
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.errors import CheckpointError

STATE = {"qkv._extra_state": None, "qkv.weight": torch.ones(2)}


def read(path: Path) -> Contents:
    return layout.find(path).read()


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(path)
    return str(caught.value)


GRID = [f"mp_rank_{t:02d}_{p:03d}" for t in range(2) for p in range(3)]
EXPERTS = [f"mp_rank_{t:02d}_{p:03d}_{e:03d}" for t in range(2) for p in range(2) for e in range(2)]
NEMO = [f"tp_rank_{t:02d}_pp_rank_{p:03d}" for t in range(2) for p in range(2)]
TENSOR = [f"mp_rank_{t:02d}" for t in range(12)]


@pytest.mark.parametrize("names", [GRID, EXPERTS, NEMO, TENSOR], ids=["tp-pp", "ep", "nemo", "tp"])
@pytest.mark.parametrize("how", ["folder", "file"])
def test_every_rank_but_the_last_is_missed_by_its_number(
    names: list[str], how: str, tmp_path: Path
) -> None:
    for lost in names[:-1] if names is TENSOR else names:
        path = layouts.ranks(STATE, tmp_path / lost, names)
        assert read(path).files == len(names)
        gone = path / lost
        shutil.rmtree(gone) if how == "folder" else (gone / "model_optim_rng.pt").unlink()
        assert f"{path} is not whole: {lost} is missing" in refusal(path)


def test_the_last_ranks_are_missed_where_the_checkpoint_says_how_many_there_are(
    tmp_path: Path,
) -> None:
    sizes = {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}
    names = ["mp_rank_00_000", "mp_rank_01_000"]
    path = layouts.ranks(STATE, tmp_path, names, sizes)
    assert "mp_rank_00_001 is missing" in refusal(path)
    only = layouts.ranks(
        STATE, tmp_path / "only", ["mp_rank_00"], {"tensor_model_parallel_size": 8}
    )
    assert "mp_rank_01 is missing" in refusal(only)
    assert read(only / "mp_rank_00").files == 1, "a rank by itself may be looked at"


def test_without_pipeline_ranks_the_second_number_is_of_experts(tmp_path: Path) -> None:
    sizes = {
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
        "expert_model_parallel_size": 4,
    }
    names = [f"mp_rank_00_{expert:03d}" for expert in range(4)]
    assert read(layouts.ranks(STATE, tmp_path, names, sizes)).files == 4
    fewer = layouts.ranks(STATE, tmp_path / "fewer", names[:3], sizes)
    assert "mp_rank_00_003 is missing" in refusal(fewer)


def test_a_rank_that_lacks_a_file(tmp_path: Path) -> None:
    """An optimizer's file may be in some ranks only; the model's is in all."""
    path = layouts.ranks(STATE, tmp_path, TENSOR[:3])
    torch.save({"step": 1}, path / "mp_rank_00" / "distrib_optim.pt")
    assert read(path).files == 4
    torch.save({"step": 1}, path / "mp_rank_01" / "distrib_optim.pt")
    (path / "mp_rank_01" / "model_optim_rng.pt").unlink()
    assert "mp_rank_01/model_optim_rng.pt is missing" in refusal(path)


@pytest.mark.parametrize(
    "lost",
    [
        "mp_rank_00_model_states.pt",
        "mp_rank_01_model_states.pt",
        "bf16_zero_pp_rank_0_mp_rank_01_optim_states.pt",
        "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt",
    ],
)
def test_deepspeed(lost: str, tmp_path: Path) -> None:
    path = layouts.deepspeed(STATE, tmp_path, model=2, data=2)
    assert read(path).files == 6
    (path / "global_step5" / lost).unlink()
    assert f"global_step5/{lost} is missing" in refusal(path)


def test_layers_of_deepspeed_may_have_gaps_and_their_ranks_may_not(tmp_path: Path) -> None:
    names = [f"layer_{n:02d}-model_{r:02d}-model_states.pt" for n in (1, 3, 4) for r in (0, 1)]
    for name in names:
        torch.save(STATE, tmp_path / name)
    assert read(tmp_path).files == 6
    (tmp_path / names[2]).unlink()
    assert f"{names[2]} is missing" in refusal(tmp_path)


def test_the_step_that_is_the_latest(tmp_path: Path) -> None:
    path = layouts.deepspeed(STATE, tmp_path, step=5)
    layouts.deepspeed(STATE, tmp_path, step=10)
    said = refusal(path)
    assert "holds 2 checkpoints: global_step10, global_step5" in said
    assert f"such as {path / 'global_step10'}" in said
    shutil.rmtree(path / "global_step10")
    assert "global_step10 is missing" in refusal(path)
    (path / "latest").write_text("best")  # a tag of the user's own
    assert read(path).files == 3


def test_the_latest_iteration_of_megatron(tmp_path: Path) -> None:
    layouts.ranks(STATE, tmp_path, ["mp_rank_00"])
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("10\n")
    assert read(tmp_path).files == 1
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("20\n")
    assert "iter_0000020 is missing" in refusal(tmp_path)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("release")
    assert read(tmp_path).files == 1


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_numbered_shards_without_their_index(kind: str, tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("2.17.1"), tmp_path, kind=kind)
    next(path.glob("*.index.json")).unlink()
    assert len(read(path).states) == 3
    second = next(path.glob("*-00002-of-00002.*"))
    second.unlink()
    assert f"{second.name} is missing" in refusal(path)


@pytest.mark.parametrize(
    ("weight_map", "complaint"),
    [
        ("[]", "it has no weight_map"),
        ('{"a": 1}', "does not name files"),
        ('{"a": "../x.bin"}', "outside its folder"),
        ('{"a": "/etc/passwd"}', "outside its folder"),
        ('{"a": "b\\u0000c"}', "does not name files"),
        ("{", "is not an index of shards"),
    ],
)
def test_an_index_that_is_none(weight_map: str, complaint: str, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "x.bin")
    (tmp_path / "pytorch_model.bin.index.json").write_text(f'{{"weight_map": {weight_map}}}')
    assert complaint in refusal(tmp_path)


def test_shards_of_states_in_several_dimensions(tmp_path: Path) -> None:
    place = tmp_path / "experts._extra_state"
    place.mkdir()
    for layer in range(2):
        for expert in range(3):
            torch.save(None, place / f"shard_{layer}.{expert}_2.3.pt")
    assert len(read(tmp_path).states) == 6
    (place / "shard_1.0_2.3.pt").unlink()
    assert "experts._extra_state/shard_1.0_2.3.pt is missing" in refusal(tmp_path)


def test_numbers_beyond_reason(tmp_path: Path) -> None:
    path = layouts.ranks(STATE, tmp_path, ["mp_rank_00", f"mp_rank_{'9' * 60}"])
    assert "mp_rank_01 is missing" in refusal(path)
    shards = tmp_path / "x._extra_state"
    shards.mkdir()
    torch.save(None, shards / f"shard_0_{'9' * 60}.pt")
    assert "is missing" in refusal(tmp_path)


def test_what_describes_an_array_of_zarr_is_checked(tmp_path: Path) -> None:
    path = layouts.megatron_zarr(recorded_state("1.11"), tmp_path)
    (path / "model.decoder.layers.self_attention.qkv.weight" / ".zarray").write_text("{")
    assert "does not describe an array" in refusal(path)


def test_what_is_in_the_place_of_what_is_missing(tmp_path: Path) -> None:
    path = layouts.ranks(STATE, tmp_path, TENSOR[:3])
    (path / "mp_rank_01").rename(tmp_path / "elsewhere")
    (path / "mp_rank_01").symlink_to(tmp_path / "elsewhere")
    assert "is not whole: mp_rank_01 is a link to a folder" in refusal(path)
    (path / "mp_rank_01").unlink()
    (path / "mp_rank_01").mkdir()
    os.mkfifo(path / "mp_rank_01" / "model_optim_rng.pt")
    torch.save({"step": 1}, path / "mp_rank_01" / "distrib_optim.pt")
    assert "is not whole: mp_rank_01/model_optim_rng.pt is a named pipe" in refusal(path)
