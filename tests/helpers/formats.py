"""Checkpoints in the formats that frameworks write, made from what releases saved."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from helpers.builders import recorded_bytes

State = dict[str, Any]
PREFIX = "model.module.decoder.layers.{}.self_attention."


def recorded_state(release: str, scenario: str = "autocast") -> State:
    """Return what a release saved, from the recorded evidence."""
    return torch.load(io.BytesIO(recorded_bytes(release, scenario)), weights_only=False)


def layered(state: State, layers: int, prefix: str = PREFIX) -> State:
    """Return a model of several layers, each with the state of one."""
    return {
        prefix.format(layer) + key: _copy(value)
        for layer in range(layers)
        for key, value in state.items()
    }


def _copy(value: Any) -> Any:
    return io.BytesIO(value.getvalue()) if isinstance(value, io.BytesIO) else value.clone()


def torch_zip(state: State, folder: Path) -> Path:
    path = folder / "model.pt"
    torch.save(state, path)
    return path


def torch_legacy(state: State, folder: Path) -> Path:
    path = folder / "legacy.pt"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def lightning(state: State, folder: Path) -> Path:
    path = folder / "last.ckpt"
    moments = {"exp_avg": torch.ones(4), "exp_avg_sq": torch.ones(4), "step": torch.tensor(1.0)}
    whole = {
        "pytorch-lightning_version": "2.5.0",
        "epoch": 1,
        "state_dict": state,
        "optimizer_states": [
            {"state": {0: moments}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
        ],
    }
    torch.save(whole, path)
    return path


def mp_rank(state: State, folder: Path) -> Path:
    """Megatron-LM's folders: the same keys in each tensor-parallel rank."""
    path = folder / "iter_0000001"
    for rank in range(2):
        place = path / f"mp_rank_{rank:02d}"
        place.mkdir(parents=True)
        torch.save({"model": state, "iteration": 1}, place / "model_optim_rng.pt")
    (folder / "iter_0000001" / "latest.txt").write_text("1")
    return path


def torch_dist(state: State, folder: Path) -> Path:
    """A distributed checkpoint; Megatron's torch_dist is one."""
    import torch.distributed.checkpoint as dcp

    path = folder / "torch_dist"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": state}, checkpoint_id=path, no_dist=True)
    torch.save({"iteration": 1}, path / "common.pt")
    return path


def sharded_states(state: State, folder: Path) -> Path:
    """Extra states as files of their own, ``<key>/shard_I_N.pt``, as NeMo's zarr folders have."""
    path = folder / "zarr"
    keys = [key for key in state if key.endswith("_extra_state")]
    layers = 1 + max(int(key.split(".")[4]) for key in keys)
    for key in keys:
        *_, layer, rest = key.split(".", 5)[:4], key.split(".", 5)[4], key.split(".", 5)[5]
        place = path / f"model.module.decoder.layers.{rest}"
        place.mkdir(parents=True, exist_ok=True)
        torch.save(state[key], place / f"shard_{layer}_{layers}.pt")
    weights = {key: value for key, value in state.items() if key not in keys}
    torch.save(weights, path / "common.pt")
    return path


def safetensors(state: State, folder: Path) -> Path:
    """safetensors, which leaves out what is not a tensor."""
    from safetensors.torch import save_file

    path = folder / "model.safetensors"
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


FORMATS: dict[str, Callable[[State, Path], Path]] = {
    "zip": torch_zip,
    "legacy": torch_legacy,
    "lightning": lightning,
    "mp_rank": mp_rank,
    "torch_dist": torch_dist,
    "sharded": sharded_states,
    "safetensors": safetensors,
}


def loaded(path: Path) -> State:
    """Return the model's state dict as its framework would read it back."""
    if path.name == "torch_dist":
        return _from_torch_dist(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    if path.name == "zarr":
        return _from_shards(path)
    file = path / "mp_rank_01" / "model_optim_rng.pt" if path.is_dir() else path
    whole = torch.load(file, weights_only=False)
    return dict(whole.get("state_dict", whole.get("model", whole)))


def _from_torch_dist(path: Path) -> State:
    import torch.distributed.checkpoint as dcp

    metadata = dcp.FileSystemReader(path).read_metadata()
    wanted: State = {}
    for key, entry in metadata.state_dict_metadata.items():
        size = getattr(entry, "size", None)
        dtype = entry.properties.dtype if size is not None else None
        wanted[key] = torch.empty(size, dtype=dtype) if size is not None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(wanted, checkpoint_id=path, no_dist=True)
    return {key.removeprefix("model."): value for key, value in wanted.items()}


def _from_shards(path: Path) -> State:
    found = torch.load(path / "common.pt", weights_only=False)
    for file in path.glob("*_extra_state/shard_*.pt"):
        layer = file.stem.split("_")[1]
        key = file.parent.name.replace("layers.", f"layers.{layer}.", 1)
        found[key] = torch.load(file, weights_only=False)
    return dict(found)


def sparse(path: Path, size: int, keys: int) -> Path:
    """Write a torch.save file of ``size`` bytes of weights that take no room on disk."""
    import zipfile

    from matrix.checkpoint import emit, torch_legacy
    from matrix.checkpoint.encoding import tensor_call
    from matrix.checkpoint.nodes import Map

    each = size // keys // 4
    pairs = []
    for key in range(keys):
        storage = torch_legacy.storage_id("float32", str(key), each, legacy=False)
        pairs.append((f"layers.{key}.weight", tensor_call(storage, (each,))))
    state = recorded_state("1.7")
    holder = io.BytesIO()
    torch.save({k: v for k, v in state.items() if k.endswith("_extra_state")}, holder)
    from matrix.checkpoint import torchfile

    pairs += torchfile.of_bytes(holder.getvalue()).root.pairs
    with path.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", emit.emit(Map(pairs), 2))
        for key in range(keys):
            _hole(archive, stream, f"archive/data/{key}", each * 4)
        archive.writestr("archive/version", "3\n")
    return path


def _hole(archive: Any, stream: Any, name: str, size: int) -> None:
    """Add an entry that is a hole in the file; its checksum stays 0, and nobody reads it."""
    import zipfile

    info = zipfile.ZipInfo(name)
    info.file_size = info.compress_size = size
    info.CRC, info.header_offset = 0, stream.seek(0, 2)
    stream.write(info.FileHeader(zip64=True))
    stream.truncate(stream.seek(size, 1))
    archive.start_dir = stream.tell()
    archive.filelist.append(info)
    archive.NameToInfo[name] = info
    archive._didModify = True


def experts(path: Path, layers: int, count: int) -> Path:
    """Save a mixture of experts with its optimizer, each tensor tiny: 12 for each expert."""
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.{kind}.weight"
        for layer in range(layers)
        for expert in range(count)
        for kind in ("gate_proj", "up_proj", "down_proj")
    ]
    model = {name: torch.zeros(2, 2, dtype=torch.bfloat16) for name in names}
    moments = {
        number: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}
        for number in range(len(names))
    }
    groups = [{"lr": 1e-3, "params": list(range(len(names)))}]
    torch.save({"model": model, "optimizer": {"state": moments, "param_groups": groups}}, path)
    return path
