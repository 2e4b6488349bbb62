"""safetensors files: a JSON header, then tensors; the format contains nothing executable."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from matrix.catalogue.forms import Form
from matrix.checkpoint import file_kinds, limits, states
from matrix.checkpoint.contents import Contents, TensorKind
from matrix.checkpoint.copying import Content, Output, Piece, pieces
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import Refused, refusing_malformed
from matrix.checkpoint.formats.base import Destination, Format, Part
from matrix.checkpoint.formats.safetensors_header import LENGTH, SafetensorsHeader, read_header
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.spans import Span
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import StateContainer

SUFFIX = ".safetensors"
_NOTE = (
    "safetensors holds tensors only: an extra state of 1.14 or later may lie in it, for that is "
    "a byte tensor; the BytesIO that 1.13 and older save cannot, and is lost in it"
)


class Safetensors(Format):
    """A safetensors file."""

    def claims(self, file: Path) -> bool:
        """Return whether a file has this format, by its suffix."""
        return file.suffix == SUFFIX

    def read(self, part: Part, contents: Contents, budget: Budget) -> str:
        """Add the keys, and the extra states that are byte tensors.

        :raises CheckpointError: the file does not have this format.
        """
        with (
            part.file.open("rb") as stream,
            refusing_malformed(
                f"{part.file} is no safetensors file",
                why="it was cut short, or is of another kind",
                do="Name a whole file",
            ),
            file_kinds.naming(part.file),
        ):
            header = read_header(stream, budget)
            found = list(states_of(header, stream, part.name, budget))
        contents.files += 1
        contents.keys += len(header.tensors) - len(found)
        for key, entry in header.tensors.items():
            if not states.is_state(key):
                contents.tensors[key] = TensorKind(len(entry["shape"]))
        for state in found:
            contents.add_state(state)
        contents.add_note(_NOTE)
        return "safetensors"

    def write(
        self,
        part: Part,
        edits: Sequence[Edit],
        form: Form,
        to: Destination,
        weights: WeightChange | None = None,
    ) -> None:
        """Write the file with edits applied.

        :raises CheckpointError: what was written differs.
        :raises Malformed: the file can no longer be read.
        """
        by_key = {edit.state.key: edit for edit in edits}
        with part.file.open("rb") as stream, to.open(part.name) as out:
            header = read_header(stream)
            _write(header, stream, by_key, Output(out, to.copied))


def states_of(
    header: SafetensorsHeader, stream: BinaryIO, file: str, budget: Budget
) -> Iterator[ExtraState]:
    """Yield the extra states that a file contains as byte tensors."""
    for key in filter(states.is_state, header.tensors):
        yield _state(header, key, stream, file, budget)


def _state(
    header: SafetensorsHeader, key: str, stream: BinaryIO, file: str, budget: Budget
) -> ExtraState:
    start, size = header.place(key)
    dtype = _DTYPES.get(header.tensors[key]["dtype"], header.tensors[key]["dtype"])
    container = states.of_tensor(dtype, size)
    state = ExtraState(key, file, container, size=size)
    if not size:
        return state
    is_state = container == StateContainer.BYTE_TENSOR
    if size > limits.STATE_BYTES:
        if is_state:
            raise Refused(f"the extra state {key} has {size} bytes, more than any of TE's")
        return states.other(state, foreign=True)
    stream.seek(start)
    data = stream.read(size)
    if is_state:
        return states.of_content(state, data, budget)
    return states.of_cast(state, dtype, data, budget) or states.other(state, foreign=True)


_DTYPES = {
    "U8": "uint8",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
}
"""PyTorch's names of the element types that bytes may be cast to."""


def _write(
    header: SafetensorsHeader,
    stream: BinaryIO,
    edits: Mapping[str, Edit],
    out: Output,
) -> None:
    """Write a file with edits applied; the tensors keep their order."""
    entries: dict[str, Any] = {"__metadata__": header.metadata} if header.metadata else {}
    parts: list[Iterable[Piece]] = []
    place = 0
    for key in header.in_order():
        entry, edit = header.tensors[key], edits.get(key)
        if edit is not None and edit.new_key is None:
            continue
        payload = edit.payload if edit else None
        start, size = header.place(key)
        size = size if payload is None else len(payload)
        new = {**entry, "data_offsets": [place, place + size]}
        if payload is not None:
            new |= {"dtype": "U8", "shape": [size]}
        entries[str(edit.new_key) if edit else key] = new
        content = Content.of(payload).pieces() if payload is not None else None
        parts.append(content or pieces(Span(stream, start, size)))
        place += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(LENGTH.pack(len(text)) + text)
    out.copy(itertools.chain.from_iterable(parts))
    out.read_back()
