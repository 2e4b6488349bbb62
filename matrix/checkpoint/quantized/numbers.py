"""The numbers that bytes of quantized data stand for, and their bytes in other types."""

from __future__ import annotations

import math
import struct

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
