"""CRC-32 of data that threads make in pieces: those of the pieces, combined.

The CRC of two parts is that of the first, multiplied by x to the number of bits of the second, plus
that of the second: polynomials over GF(2), modulo that of the CRC. (Zip archives use the one of
ISO 3309, bit-reversed.)
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Iterator

from matrix.checkpoint.copying import Piece

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
_X8 = _ONE >> 8


class Checksum:
    """The CRC-32 of pieces, computed by the threads that make them."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, int]] = []

    def of(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield pieces that add themselves to the checksum when they are made."""
        for piece in pieces:
            self._parts.append((0, 0))
            yield Piece(piece.size, functools.partial(self._fill, piece, len(self._parts) - 1))

    def _fill(self, piece: Piece, number: int, memory: memoryview) -> None:
        piece.fill(memory)
        self._parts[number] = zlib.crc32(memory), len(memory)

    @property
    def value(self) -> int:
        """The checksum of all pieces, when all were made."""
        whole = 0
        for crc, size in self._parts:
            whole = combined(whole, crc, size)
        return whole


def combined(first: int, second: int, size: int) -> int:
    """Return the CRC-32 of two parts, one behind the other.

    :param size: number of bytes of the second part.
    """
    return _product(first, _power(size)) ^ second


@functools.lru_cache(64)
def _power(size: int) -> int:
    """Return x to the power of 8 * size."""
    result, base = _ONE, _X8
    while size:
        if size & 1:
            result = _product(result, base)
        base = _product(base, base)
        size >>= 1
    return result


def _product(one: int, other: int) -> int:
    """Return the product of two polynomials, whose highest bit is the coefficient of 1."""
    result = 0
    for bit in range(31, -1, -1):
        if one >> bit & 1:
            result ^= other
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return result
