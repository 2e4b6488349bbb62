"""Quantized data as rows of blocks that have a scale each, read from a file in tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from matrix.checkpoint.spans import Span

TILE = 1 << 16
"""Bytes of data that are converted at once: what that takes stays in the processor's cache."""


class Tile(NamedTuple):
    """A part of the data that follows itself in the file: whole rows, or a part of one row."""

    rows: range
    columns: range
    """Positions of bytes in the rows."""


Convert = Callable[[Tile, memoryview], None]
"""Converts a tile of a weight to another type, into memory; any thread may call it."""


class ScaleTile(NamedTuple):
    """The scales of a tile."""

    data: bytes
    row_step: int
    """Bytes from a scale to that of the block below."""
    block_step: int
    """Bytes from a scale to that of the next block in the row."""


@dataclasses.dataclass(frozen=True)
class Scales:
    """The scales of all blocks: a matrix, with a row or a column for each row of blocks."""

    span: Span
    itemsize: int
    """Bytes of a scale."""
    row_step: int
    """Bytes from a scale to that of the block below."""
    block_step: int
    """Bytes from a scale to that of the next block in the row."""
    height: int
    """Number of rows of data that a scale is for."""
    numbers: Sequence[float] | None
    """The number of each code, if a scale is a code of one byte; None: scales are float32."""

    @property
    def is_one(self) -> bool:
        """Whether all blocks have the same scale, a float32."""
        return not (self.row_step or self.block_step)

    def read(self, rows: range, blocks: range) -> ScaleTile:
        """Return the scales of some blocks.

        :param rows: rows of data.
        :param blocks: numbers of the blocks in each row.
        :raises Malformed: the file ends before.
        """
        first, last = rows[0] // self.height, rows[-1] // self.height
        if self.row_step >= self.block_step:
            start = first * self.row_step + blocks[0] * self.block_step
            end = last * self.row_step + blocks[-1] * self.block_step + self.itemsize
            return ScaleTile(self.span.read(start, end - start), self.row_step, self.block_step)
        size = (last - first) * self.row_step + self.itemsize
        start = first * self.row_step
        lines = [self.span.read(block * self.block_step + start, size) for block in blocks]
        return ScaleTile(b"".join(lines), self.row_step, size)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The data of a weight."""

    data: Span
    rows: int
    length: int
    """Bytes in a row."""
    width: int
    """Bytes of a row in a block; the last one of a row may have fewer."""
    codes: Sequence[float]
    """The number of each code: 256 of codes that are bytes, 16 of codes that are half a byte, of
    which the lower one comes first."""
    scales: Scales

    @property
    def per_byte(self) -> int:
        """Number of elements in a byte."""
        return 2 if len(self.codes) == 16 else 1

    def tiles(self) -> Iterator[Tile]:
        """Yield the data in tiles of no more than ``TILE`` bytes, which ``width`` divides."""
        at_once = max(1, TILE // max(1, self.length))
        for first in range(0, self.rows, at_once):
            rows = range(first, min(self.rows, first + at_once))
            for start in range(0, self.length, TILE):
                yield Tile(rows, range(start, min(self.length, start + TILE)))

    def read(self, tile: Tile) -> bytes:
        """Return the data of a tile.

        :raises Malformed: the file ends before.
        """
        start = tile.rows[0] * self.length + tile.columns[0]
        return self.data.read(start, len(tile.rows) * len(tile.columns))

    def read_scales(self, tile: Tile) -> ScaleTile:
        """Return the scales of a tile.

        :raises Malformed: the file ends before.
        """
        return self.scales.read(tile.rows, self.numbered(tile))

    def numbered(self, tile: Tile) -> range:
        """Return the numbers of the blocks that a tile has in each row."""
        return range(tile.columns[0] // self.width, tile.columns[-1] // self.width + 1)
