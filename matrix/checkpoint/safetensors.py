"""safetensors files: their header. The format holds tensors and strings, nothing else."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from matrix.checkpoint import limits, states
from matrix.checkpoint.limits import Budget, Malformed
from matrix.checkpoint.states import ExtraState

NOTE = (
    "safetensors holds tensors only: an extra state of 1.14 or later may lie in it, for that is "
    "a byte tensor; the BytesIO that 1.13 and older save cannot, and is lost in it"
)
LENGTH = struct.Struct("<Q")


@dataclasses.dataclass(frozen=True)
class Header:
    """A safetensors file's tensors by key, where their data begins, and what else is said."""

    tensors: dict[str, dict[str, Any]]
    start: int
    metadata: dict[str, str] | None = None


def read(stream: BinaryIO) -> Header:
    """Read the header.

    :raises Malformed: it is none, or the file is shorter than it says.
    """
    end = stream.seek(0, 2)
    stream.seek(0)
    raw = stream.read(LENGTH.size)
    if len(raw) < LENGTH.size:
        raise Malformed("the file is empty or too short")
    (length,) = LENGTH.unpack(raw)
    if length > min(limits.HEADER_BYTES, end - LENGTH.size):
        raise Malformed(f"its header says that it has {length} bytes")
    try:
        tensors = json.loads(stream.read(length))
    except (ValueError, RecursionError) as error:
        raise Malformed("its header is not JSON") from error
    if not isinstance(tensors, dict):
        raise Malformed("its header is not a JSON object")
    metadata = tensors.pop("__metadata__", None)
    start = LENGTH.size + length
    for key, entry in tensors.items():
        if not _whole(entry, end - start):
            raise Malformed(f"tensor {key} lies outside the file")
    return Header(tensors, start, metadata)


def _whole(entry: Any, size: int) -> bool:
    match entry:
        case {"dtype": str(), "data_offsets": [int() as first, int() as last]}:
            return 0 <= first <= last <= size
    return False


def states_of(header: Header, stream: BinaryIO, file: str) -> Iterator[tuple[str, ExtraState]]:
    """Yield the extra states that the file holds as byte tensors, by key."""
    budget = Budget()
    for key, entry in header.tensors.items():
        if states.is_state(key):
            first, last = entry["data_offsets"]
            place = header.start + first, last - first
            yield key, _state(key, file, entry, stream, place, budget)


def _state(
    key: str,
    file: str,
    entry: dict[str, Any],
    stream: BinaryIO,
    place: tuple[int, int],
    budget: Budget,
) -> ExtraState:
    start, size = place
    if not size:
        return ExtraState(key, file, "empty tensor")
    kind = "byte tensor" if entry["dtype"] == "U8" else f"{entry['dtype']} tensor"
    if kind != "byte tensor" or size > limits.STATE_BYTES:
        return ExtraState(key, file, kind, problem=f"{size} bytes of {entry['dtype']} are no state")
    stream.seek(start)
    try:
        return states.of_payload(key, file, stream.read(size), budget)
    except Malformed as error:
        return ExtraState(key, file, kind, problem=str(error))
