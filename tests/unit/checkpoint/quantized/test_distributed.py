"""Rule: quantized weights among the items of a distributed checkpoint are read and rewritten."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import pytest
import torch

from helpers import layouts, quantized
from matrix.catalogue import forms
from matrix.checkpoint import edits, layout, torch_writing, torchfile
from matrix.checkpoint.copying import Output
from matrix.checkpoint.formats import distributed, distributed_index
from matrix.checkpoint.quantized import weights
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.rewriting import Rewrite, check, publishing
from matrix.system.progress import Progress


def item(recipe: str, release: str) -> bytes:
    """A quantized weight as an item, which PyTorch writes with torch.save."""
    file = quantized.source(recipe, release)
    out = io.BytesIO()
    call = quantized.weight(file).call
    torch_writing._write_root(file, call, {}, Output(out))
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A distributed checkpoint with two quantized weights, and a plain tensor."""
    path = tmp_path / "dcp"
    tensors = {name: torch.zeros(64, 64, dtype=torch.bfloat16) for name in ("a", "b")}
    layouts.dcp_save({**tensors, "bias": torch.arange(4.0)}, path)
    index = distributed_index.read(path / distributed.INDEX)
    for held in index.items:
        if held.key in tensors:
            name = f"__quantized_{held.key}.distcp"
            data = item("mxfp8" if held.key == "a" else "delayed-scaling", "2.19")
            (path / name).write_bytes(b"in front of it" + data)
            distributed_index.set_attributes(
                held.info, relative_path=name, offset=14, length=len(data)
            )
    new = torch_writing.verified_pickle(index.root, index.protocol)
    (path / distributed.INDEX).write_bytes(new)
    return path


def rewritten(folder: Path, change: WeightChange) -> Path:
    found = layout.find(folder)
    contents = found.read()
    form = forms.load()["2.4"]
    files = contents.quantized.files
    rewrite = Rewrite(found, edits.plan(contents, form), form, "copy", change, files)
    out = folder.with_name("new")
    with publishing(rewrite, out, Progress()) as new:
        check(rewrite, contents, layout.find(new).read())
    return out


def read(folder: Path, key: str) -> tuple[torchfile.TorchFile, weights.QuantizedWeight]:
    index = distributed_index.read(folder / distributed.INDEX)
    (held,) = (held for held in index.items if held.key == key)
    file = torchfile.of_bytes(distributed_index.bytes_of(folder, held))
    return file, quantized.weight(file)


def test_they_are_counted(folder: Path) -> None:
    found = layout.find(folder).read().quantized
    assert {kind.weight: amount.count for kind, amount in found.kinds.items()} == {
        "MXFP8Tensor": 1,
        "Float8Tensor": 1,
    }
    assert found.files[distributed.INDEX].elements == 2 * 64 * 64


def test_they_are_written_in_another_form(folder: Path) -> None:
    new = rewritten(folder, WeightChange(into="2.12"))
    for key, recipe in (("a", "mxfp8"), ("b", "delayed-scaling")):
        own = quantized.weight(quantized.source(recipe, "2.12" if key == "a" else "2.4"))
        (before, held), (after, weight) = read(folder, key), read(new, key)
        assert quantized.text(weight.call) == quantized.text(own.call)
        for name, ref in held.tensors.items():
            kept = after.storage(weight.tensors[name], 1 << 20)
            assert kept == before.storage(ref, 1 << 20)


def test_they_become_plain_tensors(folder: Path) -> None:
    """PyTorch loads them as such."""
    new = rewritten(folder, WeightChange(dtype="bfloat16"))
    loaded = layouts.dcp_load(new)
    assert torch.equal(loaded["bias"], torch.arange(4.0))
    for key, recipe in (("a", "mxfp8"), ("b", "delayed-scaling")):
        file = quantized.source(recipe, "2.19")
        out = io.BytesIO()
        torch_writing.write(file, {}, out, lambda _size: None, WeightChange(dtype="bfloat16"))
        out.seek(0)
        expected = torch.load(out, weights_only=False)["weight"]
        assert torch.equal(loaded[key], expected)


def places(folder: Path) -> dict[str, tuple[str, int, int]]:
    items = distributed_index.read(folder / distributed.INDEX).items
    return {item.key: (item.file, item.offset, item.length) for item in items}


@pytest.mark.parametrize("change", [WeightChange(into="2.12"), WeightChange(dtype="float32")])
def test_the_old_weights_are_not_kept_beside_the_new_ones(
    change: WeightChange, folder: Path
) -> None:
    new = rewritten(folder, change)
    assert {file.name for file in new.iterdir()} == {file.name for file in folder.iterdir()}
    for key, (name, offset, length) in places(new).items():
        if key != "bias":
            assert (new / name).stat().st_size == offset + length
            assert offset == 0  # without what was in front of it
    assert places(new)["bias"] == places(folder)["bias"]


def test_items_beside_a_weight_in_its_file_are_copied(tmp_path: Path) -> None:
    """As every rank writes all of its items into one file."""
    path = layouts.dcp_save({"bias": torch.arange(4.0), "w": torch.zeros(64, 64)}, tmp_path / "dcp")
    index = distributed_index.read(path / distributed.INDEX)
    (name,) = index.files
    weight = item("delayed-scaling", "2.19")
    (held,) = (held for held in index.items if held.key == "w")
    whole = (path / name).read_bytes()
    (path / name).write_bytes(weight + whole)
    for other in index.items:
        start = {"offset": other.offset + len(weight)}
        new = {"offset": 0, "length": len(weight)} if other is held else start
        distributed_index.set_attributes(other.info, **new)
    changed = torch_writing.verified_pickle(index.root, index.protocol)
    (path / distributed.INDEX).write_bytes(changed)
    found = layouts.dcp_load(rewritten(path, WeightChange(dtype="float16")))
    assert torch.equal(found["bias"], torch.arange(4.0))
    assert found["w"].dtype is torch.float16
    assert places(path.with_name("new")).keys() == places(path).keys()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_index_states_the_new_type(dtype: str, folder: Path) -> None:
    """PyTorch makes a tensor of the stated type, and copies into it what the file has."""
    loaded = layouts.dcp_load(rewritten(folder, WeightChange(dtype=dtype)))
    assert str(loaded["a"].dtype) == str(loaded["b"].dtype) == f"torch.{dtype}"
    assert loaded["bias"].dtype is torch.float32
    assert bool(loaded["a"].any()) and bool(loaded["b"].any())


def sharded(tmp_path: Path) -> Path:
    """A distributed checkpoint of which one quantized weight lies in two pieces in two files."""
    path = layouts.dcp_save({"w": torch.zeros(128, 64, dtype=torch.bfloat16)}, tmp_path / "dcp")
    metadata = torch.distributed.checkpoint.FileSystemReader(path).read_metadata()
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex

    data = item("delayed-scaling", "2.19")
    chunks, storage = [], {}
    for number in range(2):
        name, offsets = f"__{number}_0.distcp", torch.Size([64 * number, 0])
        (path / name).write_bytes(data)
        chunks.append(ChunkStorageMetadata(offsets, torch.Size([64, 64])))
        storage[MetadataIndex("w", offsets, number)] = _StorageInfo(name, 0, len(data))
    metadata.state_dict_metadata["w"].chunks = chunks
    metadata.storage_data = storage
    with (path / distributed.INDEX).open("wb") as stream:
        pickle.dump(metadata, stream)
    return path


def test_a_weight_in_pieces_on_several_ranks(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    assert sum(a.count for a in layout.find(path).read().quantized.kinds.values()) == 2
    new = rewritten(path, WeightChange(dtype="bfloat16"))
    loaded = layouts.dcp_load(new)["w"]
    assert loaded.shape == (128, 64)
    assert torch.equal(loaded[:64], loaded[64:]) and bool(loaded.any())


def test_a_checkpoint_without_any_gets_no_file(tmp_path: Path) -> None:
    path = layouts.dcp_save({"bias": torch.arange(4.0)}, tmp_path / "dcp")
    new = rewritten(path, WeightChange(into="2.12"))
    assert {file.name for file in new.iterdir()} == {file.name for file in path.iterdir()}
