"""Blocks as numbers of another type, with the standard library alone.

Products are formed and rounded as Transformer Engine's kernels do: the number and the scale are
multiplied in float32, and the product is rounded once to the type asked for. Each is looked up
by :meth:`bytes.translate` in a table of 256 entries.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

from matrix.checkpoint.quantized.blocks import Blocks, Convert, Tile
from matrix.checkpoint.quantized.numbers import ROUND, float32

Planes = tuple[bytes, ...]
"""For each byte of the result a table that gives it for each byte of the data."""
_F32 = struct.Struct("<f")


def converter(blocks: Blocks, dtype: str) -> Convert:
    """Return the function that converts tiles of a weight.

    :param dtype: the type of the results: ``bfloat16``, ``float16`` or ``float32``.
    """
    make = planes if blocks.per_byte == 1 else planes_of_pairs
    numbers = blocks.scales.numbers

    def tables(scale: bytes) -> Planes:
        number = _F32.unpack(scale)[0] if numbers is None else numbers[scale[0]]
        return make(blocks.codes, number, dtype)

    cache = PlaneCache(tables)

    def convert(tile: Tile, memory: memoryview) -> None:
        memory[:] = cache.translate(_parts(blocks, tile))

    return convert


def _parts(blocks: Blocks, tile: Tile) -> Iterator[tuple[bytes, bytes]]:
    """Yield the data of each block of a tile, with the bytes of its scale."""
    data, scales = blocks.read(tile), blocks.read_scales(tile)
    length, height, size = len(tile.columns), blocks.scales.height, blocks.scales.itemsize
    for number, row in enumerate(tile.rows):
        place = (row // height - tile.rows[0] // height) * scales.row_step
        end = (number + 1) * length
        for start in range(number * length, end, blocks.width):
            part = data[start : min(start + blocks.width, end)]
            yield part, scales.data[place : place + size]
            place += scales.block_step


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
