"""The index of shards that Hugging Face writes: which file holds which key, and the sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from matrix.catalogue.forms import Form
from matrix.checkpoint import json_objects, limits, states, torchfile
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError, Malformed, incomplete
from matrix.checkpoint.formats import torch_save
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.quantized.numbers import ITEMSIZE
from matrix.checkpoint.quantized.summary import Held, QuantizedWeights
from matrix.system.counting import first_of

SUFFIXES = (".safetensors.index.json", ".bin.index.json")
_SHOWN = 3


class HuggingFaceIndex(Format):
    """An index of shards; the files that it names are the shards."""

    def claims(self, file: Path) -> bool:
        """Return whether a file is such an index, by its name."""
        return file.name.endswith(SUFFIXES)

    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Check that the files that it names are there, and hold the extra states that it names.

        :raises CheckpointError: it is no index, or a file that it names is missing.
        """
        held = {(s.file, s.key) for s in (*contents.states, *contents.foreign)}
        named = _weight_map(part.file, budget)
        for name in sorted(set(named.values())):
            if not (part.file.parent / name).is_file():
                raise incomplete(part.file.parent, f"{name} is missing, which {part.name} names")
        if any(_place(part, name) in contents.quantized.files for name in named.values()):
            contents.quantized.files[part.name] = Held()  # it states their size
        lost = [
            key
            for key, name in named.items()
            if states.is_state(key) and (_place(part, name), key) not in held
        ]
        if lost:
            contents.add_note(
                f"{part.name} names {first_of(lost, _SHOWN)}, which the shards do not hold"
            )
        return "Hugging Face index"

    def edits(self, part: Part, by_part: Mapping[str, Sequence[Edit]]) -> Sequence[Edit]:
        """Return the edits of the files that the index names.

        :raises CheckpointError: it is no index.
        """
        named = {_place(part, name) for name in _weight_map(part.file).values()}
        return [edit for name, edits in by_part.items() if name in named for edit in edits]

    def write(
        self,
        part: Part,
        edits: Sequence[Edit],
        form: Form,
        to: Destination,
        weights: WeightChange | None = None,
    ) -> None:
        """Write the index with the new keys of the states, and the total size that they make.

        :raises CheckpointError: it is no index.
        """
        index = _read(part.file, Budget())
        by_place = {(edit.state.file, edit.state.key): edit for edit in edits}
        new: dict[str, str] = {}
        growth = 0
        for key, name in _weight_map(part.file).items():
            edit = by_place.get((_place(part, name), key))
            if edit is None or edit.new_key is not None:
                new[str(edit.new_key) if edit else key] = name
            growth += _growth(edit) if edit else 0
        if weights is not None and weights.into is None:
            growth += sum(_dequantized(part, name, weights) for name in set(new.values()))
        index["weight_map"] = new
        metadata = index.get("metadata")
        if isinstance(metadata, dict) and isinstance(metadata.get("total_size"), int):
            metadata["total_size"] += growth
        with to.open(part.name) as out:
            out.write((json.dumps(index, indent=2) + "\n").encode())


def _place(part: Part, name: str) -> str:
    """Return the path, relative to the checkpoint, of a file that an index names."""
    return (PurePosixPath(part.name).parent / name).as_posix()


def _growth(edit: Edit) -> int:
    """Return by how many bytes of tensors an edit makes its file larger."""
    if edit.new_key is None:
        return -edit.state.size
    return 0 if edit.payload is None else len(edit.payload) - edit.state.size


def _dequantized(part: Part, name: str, change: WeightChange) -> int:
    """Return by how many bytes of tensors a shard grows that is dequantized.

    A quantized weight counts as a plain tensor of the type that it has to PyTorch, which is what
    PyTorch says of it to whoever adds sizes up.
    """
    file = part.file.parent / name
    if file.suffix not in torch_save.SUFFIXES:
        return 0
    found = QuantizedWeights()
    with file.open("rb") as stream:
        found.add(torchfile.read(stream), name)
    return sum(
        held.elements * ITEMSIZE[change.dtype] - held.nominal for held in found.files.values()
    )


def _read(file: Path, budget: Budget) -> dict[str, Any]:
    try:
        if file.stat().st_size > limits.HEADER_BYTES:
            raise Malformed("it is larger than any index")
        return json_objects.read(file.read_bytes(), budget)
    except Malformed as error:
        raise _refusal(file, str(error)) from error


def _weight_map(file: Path, budget: Budget | None = None) -> dict[str, str]:
    """Return the name of the file that holds each key.

    :raises CheckpointError: there is none, or a file is named outside the folder.
    """
    found = _read(file, budget or Budget()).get("weight_map")
    if not isinstance(found, dict):
        raise _refusal(file, "it has no weight_map")
    for name in found.values():
        if not isinstance(name, str) or not name or "\0" in name:
            raise _refusal(file, "its weight_map does not name files")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise _refusal(file, f"it names a file outside its folder: {name!r}")
    return found


def _refusal(file: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{file} is not an index of shards: {what}",
        why="it was cut short, or changed by hand",
        do="Restore it, or move it away if the shards are whole",
    )
