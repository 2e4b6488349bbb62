"""Checkpoints as frameworks lay them out, from what releases saved; beside ``formats``.

Each is built by hand from what is publicly known of the framework, and written with PyTorch or
safetensors alone.
"""

from __future__ import annotations

import argparse
import io
import json
import warnings
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]


def dcp_save(items: State, path: Path) -> Path:
    """Write a distributed checkpoint whose items are stored under their keys as they are."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

    planner = DefaultSavePlanner(flatten_state_dict=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(items, checkpoint_id=path, planner=planner, no_dist=True)
    return path


def dcp_load(path: Path) -> State:
    """Return every item of a distributed checkpoint, by PyTorch's own reader."""
    import torch.distributed.checkpoint as dcp

    wanted: State = {}
    metadata = dcp.FileSystemReader(path).read_metadata()
    for key, entry in metadata.state_dict_metadata.items():
        size = getattr(entry, "size", None)
        wanted[key] = None if size is None else torch.empty(size, dtype=entry.properties.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(wanted, checkpoint_id=path, no_dist=True)
    return wanted


def megatron_torch_dist(state: State, folder: Path, *, lists: bool = True) -> Path:
    """Megatron-LM's torch_dist: layers stacked, each object the only item of a list."""
    items: State = {}
    for key, value in state.items():
        if not key.endswith("_extra_state"):
            items[f"decoder.layers.self_attention.{key}"] = torch.stack([value, value])
            continue
        for layer in range(2):
            name = f"decoder.layers.self_attention.{key}/shard_{layer}_2"
            items[name] = [copy(value)] if lists else copy(value)
    path = dcp_save(items, folder / "torch_dist")
    torch.save({"iteration": 10, "args": argparse.Namespace(num_layers=2)}, path / "common.pt")
    (path / "metadata.json").write_text('{"sharded_backend": "torch_dist"}')
    return path


def megatron_zarr(state: State, folder: Path) -> Path:
    """Megatron-LM's zarr: an array per folder, the objects of each key beside them."""
    path = folder / "zarr"
    for key, value in state.items():
        place = path / f"model.decoder.layers.self_attention.{key}"
        place.mkdir(parents=True)
        if key.endswith("_extra_state"):
            for layer in range(2):
                torch.save(value, place / f"shard_{layer}_2.pt")
            continue
        shape = [2, *value.shape]
        described = {"zarr_format": 2, "shape": shape, "chunks": [1, *shape[1:]], "dtype": "<V2"}
        (place / ".zarray").write_text(json.dumps(described))
        for layer in range(2):
            chunk = ".".join([str(layer), *("0" for _ in shape[1:])])
            (place / chunk).write_bytes(value.contiguous().view(torch.uint8).numpy().tobytes())
    torch.save({"iteration": 10}, path / "common.pt")
    (path / "metadata.json").write_text('{"sharded_backend": "zarr"}')
    return path


def ranks(
    state: State, folder: Path, names: list[str], arguments: dict[str, int] | None = None
) -> Path:
    """Megatron-LM's legacy folders, one for each rank."""
    path = folder / "iter_0000010"
    for name in names:
        (path / name).mkdir(parents=True)
        whole: State = {"model": state, "iteration": 10}
        if arguments:
            whole["args"] = argparse.Namespace(**arguments)
        torch.save(whole, path / name / "model_optim_rng.pt")
    return path


def deepspeed(state: State, folder: Path, *, model: int = 1, data: int = 2, step: int = 5) -> Path:
    """DeepSpeed's folder: ``latest``, and the step's model and optimizer states."""
    place = folder / "deepspeed" / f"global_step{step}"
    place.mkdir(parents=True)
    for rank in range(model):
        whole = {"module": state, "dp_world_size": data, "mp_world_size": model, "ds_config": {}}
        torch.save(whole, place / f"mp_rank_{rank:02d}_model_states.pt")
        for shard in range(data):
            name = f"bf16_zero_pp_rank_{shard}_mp_rank_{rank:02d}_optim_states.pt"
            torch.save({"optimizer_state_dict": {"flat": torch.ones(3)}}, place / name)
    (place.parent / "latest").write_text(place.name)
    (place.parent / "zero_to_fp32.py").write_text("# a program\n")
    return place.parent


def hugging_face(state: State, folder: Path, *, kind: str = "bin", metadata: bool = True) -> Path:
    """Hugging Face's two shards with their index."""
    path = folder / "hf"
    path.mkdir()
    stem = "pytorch_model" if kind == "bin" else "model"
    keys = sorted(state)
    where, total = {}, 0
    for number, some in enumerate((keys[::2], keys[1::2]), 1):
        name = f"{stem}-{number:05d}-of-00002.{kind}"
        shard = {key: state[key] for key in some}
        where.update(dict.fromkeys(some, name))
        tensors = [value for value in shard.values() if isinstance(value, torch.Tensor)]
        total += sum(value.nbytes for value in tensors)
        if kind == "bin":
            torch.save(shard, path / name)
        else:
            from safetensors.torch import save_file

            save_file(shard, path / name, metadata={"format": "pt"})
    index = {"metadata": {"total_size": total} if metadata else {}, "weight_map": where}
    (path / f"{stem}.{kind}.index.json").write_text(json.dumps(index))
    (path / "config.json").write_text("{}")
    return path


def copy(value: Any) -> Any:
    """Return an extra state or tensor that shares nothing with another."""
    return io.BytesIO(value.getvalue()) if isinstance(value, io.BytesIO) else value.clone()
