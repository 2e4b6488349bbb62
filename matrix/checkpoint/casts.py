"""Bytes that were cast to another element type on their way, as ``model.half()`` does to all.

An extra state in a byte tensor goes through such a cast like any weight does. Its elements are
whole numbers up to 255, which every type below holds exactly, so that casting back is exact.
"""

from __future__ import annotations

import struct

CASTS = {
    "float16": "e",
    "bfloat16": "H",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
}
"""Element types that hold every byte, and how ``struct`` reads each. An int8 holds those above
127 as negative numbers; a bfloat16 is read as its bits."""


def size(dtype: str) -> int:
    """Return the number of bytes of an element of one of ``CASTS``."""
    return struct.calcsize(CASTS[dtype])


def undone(dtype: str, data: bytes) -> bytes | None:
    """Return the bytes that a tensor was cast from; None if it was not cast from bytes.

    :param dtype: the element type that they were cast to.
    :param data: its elements, little-endian.
    """
    code = CASTS.get(dtype)
    if code is None or len(data) % size(dtype):
        return None
    if code == "b":
        return data
    numbers = struct.unpack(f"<{len(data) // size(dtype)}{code}", data)
    if dtype == "bfloat16":
        numbers = from_bfloat16(numbers)
    try:
        found = bytes(int(number) for number in numbers)
    except (ValueError, OverflowError):  # not from 0 to 255, NaN, or infinity
        return None
    return found if all(map(float.__eq__, map(float, found), map(float, numbers))) else None


def from_bfloat16(bits: tuple[int, ...]) -> tuple[float, ...]:
    """Return numbers in bfloat16, which is the upper half of a float32."""
    whole = struct.pack(f"<{len(bits)}I", *(half << 16 for half in bits))
    return struct.unpack(f"<{len(bits)}f", whole)
