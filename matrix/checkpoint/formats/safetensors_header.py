"""The header of a safetensors file: a JSON object that says where each tensor lies."""

from __future__ import annotations

import dataclasses
import math
import struct
from typing import Any, BinaryIO

from matrix.checkpoint import json_objects, limits
from matrix.checkpoint.errors import Malformed, cut_short
from matrix.checkpoint.limits import Budget

LENGTH = struct.Struct("<Q")
_METADATA = "__metadata__"
_BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8},
    **{"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
    **{"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32},
    **{"C64": 64, "F64": 64, "I64": 64, "U64": 64},
}
"""Bits of an element of each type that the format has: ``Dtype`` of the safetensors library."""

_DIMENSIONS = 64


@dataclasses.dataclass(frozen=True)
class SafetensorsHeader:
    """The header of a safetensors file."""

    tensors: dict[str, dict[str, Any]]
    """The header's entry for each tensor, by key."""
    start: int
    """Position of the first tensor in the file."""
    metadata: dict[str, str] | None = None

    def place(self, key: str) -> tuple[int, int]:
        """Return position and size of a tensor in the file, in bytes."""
        first, last = self.tensors[key]["data_offsets"]
        return self.start + first, last - first

    def in_order(self) -> list[str]:
        """Return the keys in the order of their tensors in the file."""
        return sorted(self.tensors, key=lambda key: self.tensors[key]["data_offsets"])


def read_header(stream: BinaryIO, budget: Budget | None = None) -> SafetensorsHeader:
    """Read the header of a file.

    :param budget: what may still be read of the checkpoint.
    :raises Malformed: there is none, or the tensors are not laid out as the format demands: one
        after the other, without gaps, up to the end of the file.
    """
    end = stream.seek(0, 2)
    stream.seek(0)
    raw = stream.read(LENGTH.size)
    if len(raw) < LENGTH.size:
        raise Malformed("the file is empty or too short")
    (length,) = LENGTH.unpack(raw)
    if length > min(limits.HEADER_BYTES, end - LENGTH.size):
        error = Malformed(
            f"its header would have {length} bytes, where {end - LENGTH.size} follow and no more "
            f"than {limits.HEADER_BYTES} are read"
        )
        raise cut_short(error) if length <= limits.HEADER_BYTES else error
    tensors = json_objects.read(stream.read(length), budget or Budget())
    metadata = tensors.pop(_METADATA, None)
    if metadata is not None and not _is_text(metadata):
        raise Malformed(f"its {_METADATA} is not a mapping of texts")
    for key, entry in tensors.items():
        _check_entry(key, entry)
    header = SafetensorsHeader(tensors, LENGTH.size + length, metadata)
    _check_places(header, end)
    return header


def _is_text(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())


def _is_extent(number: Any) -> bool:
    return isinstance(number, int) and 0 <= number < 1 << 63


def _check_entry(key: str, entry: Any) -> None:
    """Check one tensor's entry, and that its size is what type and shape make."""
    match entry:
        case {
            "dtype": str() as dtype,
            "shape": list() as shape,
            "data_offsets": [int() as first, int() as last],
        } if len(shape) <= _DIMENSIONS and all(map(_is_extent, (*shape, first, last))):
            bits = _BITS.get(dtype)
            size = math.prod(shape) * bits if bits else 8 * (last - first)
            if size != 8 * (last - first):
                raise Malformed(
                    f"tensor {key} has {last - first} bytes, which is not the size of {dtype} "
                    f"{shape}"
                )
        case _:
            raise Malformed(f"its header does not describe tensor {key}")


def _check_places(header: SafetensorsHeader, end: int) -> None:
    """Check that tensors follow each other: an overlap or gap gives a file a second reading."""
    place = 0
    for key in header.in_order():
        first, last = header.tensors[key]["data_offsets"]
        if first != place:
            what = "overlaps another one" if first < place else "follows a gap"
            raise Malformed(f"tensor {key} {what}, at {first} where {place} was expected")
        place = last
    if header.start + place != end:
        error = Malformed(
            f"its tensors end at {header.start + place} of {end} bytes: it was cut short, or "
            "something was appended"
        )
        raise cut_short(error) if header.start + place > end else error
