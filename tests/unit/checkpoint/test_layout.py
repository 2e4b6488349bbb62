"""Rule: every file of a checkpoint has one format, found by name and place, or is not read."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.formats import FORMATS, layered, recorded_state
from matrix.checkpoint import layout
from matrix.checkpoint.errors import CheckpointError

EXPECTED = {
    "zip": {"TorchSave"},
    "legacy": {"TorchSave"},
    "lightning": {"TorchSave"},
    "mp_rank": {"TorchSave"},
    "torch_dist": {"Distributed", "TorchSave"},
    "sharded": {"StateShard", "TorchSave"},
    "safetensors": {"Safetensors"},
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_told_apart(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](layered(recorded_state("2.17.1"), 2), tmp_path)
    found = layout.find(path)
    assert {type(part.format).__name__ for part in found.parts} == EXPECTED[name]
    files = {file for file in path.rglob("*") if file.is_file()} if path.is_dir() else {path}
    assert {*(part.file for part in found.parts), *found.others} == files


def test_a_file_without_a_name_of_its_own_is_told_one(tmp_path: Path) -> None:
    path = tmp_path / "descriptor"
    path.write_bytes(FORMATS["safetensors"](recorded_state("2.17.1"), tmp_path).read_bytes())
    assert layout.find(path, "model.safetensors").read().format == "safetensors"
    with pytest.raises(CheckpointError, match="is no checkpoint that can be read"):
        layout.find(path).read()
