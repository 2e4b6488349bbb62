"""Rule: quantized weights in the files of a folder are rewritten, and what indexes them too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import quantized
from matrix.catalogue import forms
from matrix.checkpoint import edits, layout, torchfile
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.rewriting import Rewrite, check, publishing
from matrix.system.progress import Progress

RECIPES = ("delayed-scaling", "mxfp8")
ELEMENTS = 64 * 64


class Steps(Progress):
    """Counts what is reported."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def start(self, what: str, total: int) -> None:
        self.total = total

    def step(self, release: str) -> None:
        self.done += 1


def hugging_face(folder: Path) -> Path:
    """Two shards with a quantized weight each, one with none, and their index."""
    folder.mkdir()
    where = {}
    for number, recipe in enumerate(RECIPES, 1):
        name = f"pytorch_model-{number:05d}-of-00003.bin"
        (folder / name).write_bytes(quantized.data(recipe, "2.4"))
        keys = [key for key, _value in quantized.source(recipe, "2.4").root.pairs]
        where |= {f"{number}.{key}" if key in where else key: name for key in keys}
    name = "pytorch_model-00003-of-00003.bin"
    torch.save({"plain.weight": torch.ones(5, dtype=torch.bfloat16)}, folder / name)
    index = {"metadata": {"total_size": 100_000}, "weight_map": {**where, "plain.weight": name}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


def ranks(folder: Path) -> Path:
    """Megatron-LM's folders, one for each rank."""
    for number in range(2):
        place = folder / f"mp_rank_{number:02d}"
        place.mkdir(parents=True)
        (place / "model_optim_rng.pt").write_bytes(quantized.data("delayed-scaling", "2.4"))
    return folder


def rewritten(
    path: Path, change: WeightChange, progress: Progress | None = None, unchanged: str = "copy"
) -> Path:
    found = layout.find(path)
    contents, form = found.read(), forms.load()["2.4"]
    planned = edits.plan(contents, form)
    files = contents.quantized.files
    rewrite = Rewrite(found, planned, form, unchanged, change, files)  # type: ignore[arg-type]
    out = path.with_name("new")
    size = rewrite.size()
    with publishing(rewrite, out, progress or Progress()) as new:
        check(rewrite, contents, layout.find(new).read())
    written = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if unchanged == "copy":
        assert written <= size + (1 << 14) and size <= written + (1 << 17)
    return out


def total(folder: Path) -> int:
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    return int(index["metadata"]["total_size"])


@pytest.mark.parametrize(("dtype", "more"), [("bfloat16", 0), ("float16", 0), ("float32", 2)])
def test_the_index_states_the_size_of_plain_tensors(dtype: str, more: int, tmp_path: Path) -> None:
    """A quantized weight counts as what it is to PyTorch, here bfloat16."""
    new = rewritten(hugging_face(tmp_path / "hf"), WeightChange(dtype=dtype))
    assert total(new) == 100_000 + more * ELEMENTS * len(RECIPES)
    for number in (1, 2):
        shard = torch.load(new / f"pytorch_model-{number:05d}-of-00003.bin", weights_only=False)
        assert str(shard["weight"].dtype) == f"torch.{dtype}"


def test_the_index_stays_what_it_is_under_another_form(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "hf")
    new = rewritten(path, WeightChange(into="2.20.2"))
    name = "pytorch_model.bin.index.json"
    assert json.loads((new / name).read_text()) == json.loads((path / name).read_text())


def test_a_shard_without_any_is_not_written(tmp_path: Path) -> None:
    path = hugging_face(tmp_path / "hf")
    new = rewritten(path, WeightChange(dtype="bfloat16"), unchanged="link")
    linked = {file.name for file in new.iterdir() if file.stat().st_nlink > 1}
    assert linked == {"pytorch_model-00003-of-00003.bin"}


@pytest.mark.parametrize("change", [WeightChange(into="2.20.2"), WeightChange(dtype="float32")])
def test_every_rank_is_written(change: WeightChange, tmp_path: Path) -> None:
    new = rewritten(ranks(tmp_path / "iter_0000010"), change)
    contents = layout.find(new).read()
    assert contents.quantized.are(change)
    for file in new.rglob("*.pt"):
        if change.into is None:
            assert type(torch.load(file, weights_only=False)["weight"]) is torch.Tensor
        else:
            source = torchfile.of_bytes(file.read_bytes())
            assert quantized.weight(source).shape == (64, 64)


@pytest.mark.parametrize("change", [WeightChange(into="2.20.2"), WeightChange(dtype="bfloat16")])
def test_progress_ends_where_it_was_said_to(change: WeightChange, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    quantized.large(folder / "a.pt", "delayed-scaling", "2.4", 1)
    steps = Steps()
    rewritten(folder, change, steps)
    assert steps.done == steps.total
    assert steps.total == pytest.approx(64 if change.into else 128, abs=2)
