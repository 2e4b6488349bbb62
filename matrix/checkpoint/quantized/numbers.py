"""The numbers that bytes of quantized data stand for, and their bytes in other types.

Everything is a table of 256 entries, so that data is converted by :meth:`bytes.translate`.
Products are formed and rounded as Transformer Engine's kernels do: the number and the scale are
multiplied in float32, and the product is rounded once to the type asked for.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable, Iterable, Sequence

Planes = tuple[bytes, ...]
"""For each byte of the result a table that gives it for each byte of the data."""

_F32 = struct.Struct("<f")
_U32 = struct.Struct("<I")
_NAN = math.nan


def _small_float(code: int, exponent_bits: int, mantissa_bits: int, bias: int) -> float:
    """Return the number of a code without infinities and NaN."""
    mantissa = code & ((1 << mantissa_bits) - 1)
    exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1)
    sign = -1.0 if code >> (exponent_bits + mantissa_bits) else 1.0
    fraction = mantissa / (1 << mantissa_bits)
    if exponent == 0:
        return sign * math.ldexp(fraction, 1 - bias)
    return sign * math.ldexp(1.0 + fraction, exponent - bias)


def _e4m3(code: int) -> float:
    return _NAN if code & 0x7F == 0x7F else _small_float(code, 4, 3, 7)


def _e5m2(code: int) -> float:
    if code & 0x7C == 0x7C:
        return _NAN if code & 3 else math.copysign(math.inf, -1.0 if code & 0x80 else 1.0)
    return _small_float(code, 5, 2, 15)


E4M3 = tuple(map(_e4m3, range(256)))
"""The numbers of ``kFloat8E4M3`` (torch.float8_e4m3fn) by their codes."""
E5M2 = tuple(map(_e5m2, range(256)))
"""The numbers of ``kFloat8E5M2`` (torch.float8_e5m2) by their codes."""
E2M1 = tuple(_small_float(code, 2, 1, 1) for code in range(16))
"""The numbers of ``kFloat4E2M1`` by their codes of four bits."""


def float32(number: float) -> float:
    """Return a number rounded to float32, to even between two; too large ones are infinite."""
    try:
        return float(_F32.unpack(_F32.pack(number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def power_of_two(code: int) -> float:
    """Return the number of an E8M0 as kernels take it: its bits are a float32's exponent.

    (``exp2f`` in ``common/util/ptx.cuh``: 0 for code 0, infinite for 255.)
    """
    return float(_F32.unpack(_U32.pack(code << 23))[0])


def _bfloat16(number: float) -> bytes:
    if math.isnan(number):
        return b"\xc0\x7f"
    (bits,) = _U32.unpack(_F32.pack(number))
    rounded = bits + 0x7FFF + (bits >> 16 & 1)
    return struct.pack("<H", rounded >> 16)


def _float16(number: float) -> bytes:
    if math.isnan(number):
        return b"\x00\x7e"
    try:
        return struct.pack("<e", number)
    except OverflowError:
        return struct.pack("<e", math.copysign(math.inf, number))


def _float32(number: float) -> bytes:
    return b"\x00\x00\xc0\x7f" if math.isnan(number) else _F32.pack(number)


ROUND = {"bfloat16": _bfloat16, "float16": _float16, "float32": _float32}
"""Functions that give the bytes of a float32 in another type, by its name. NaN is quiet and
positive; which of its bits are set, releases leave to the device."""
ITEMSIZE = {"bfloat16": 2, "float16": 2, "float32": 4}


def planes(numbers: Sequence[float], scale: float, dtype: str) -> Planes:
    """Return the tables that turn codes into numbers times a scale.

    :param numbers: the number of each code, 256 of them.
    :param scale: a float32.
    :param dtype: the type of the results.
    """
    entries = [ROUND[dtype](float32(number * scale)) for number in numbers]
    return _split(entries)


def planes_of_pairs(numbers: Sequence[float], scale: float, dtype: str) -> Planes:
    """Return the tables for two codes in a byte, of which the lower bits come first.

    :param numbers: the number of each code, 16 of them.
    """
    halves = [ROUND[dtype](float32(number * scale)) for number in numbers]
    return _split([halves[code & 15] + halves[code >> 4] for code in range(256)])


def _split(entries: Sequence[bytes]) -> Planes:
    return tuple(bytes(column) for column in zip(*entries, strict=True))


def translate(data: bytes, tables: Planes) -> bytes:
    """Return the results for the bytes of data, one after another."""
    return interleave([data.translate(table) for table in tables])


def interleave(columns: Sequence[bytes]) -> bytes:
    """Return the first bytes of all columns, then the second, and so on."""
    out = bytearray(len(columns) * len(columns[0]))
    for place, column in enumerate(columns):
        out[place :: len(columns)] = column
    return bytes(out)


class PlaneCache:
    """Tables by scale, for data in blocks with a scale each.

    :param make: returns the tables for a scale's bytes.
    """

    def __init__(self, make: Callable[[bytes], Planes], size: int = 4096) -> None:
        self._make = functools.lru_cache(size)(make)

    def translate(self, blocks: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the results for blocks of data, one after another.

        :param blocks: data, and the bytes of its scale.
        """
        parts = [(data, self._make(scale)) for data, scale in blocks]
        width = len(parts[0][1])
        columns = [
            b"".join([data.translate(tables[place]) for data, tables in parts])
            for place in range(width)
        ]
        return interleave(columns)
