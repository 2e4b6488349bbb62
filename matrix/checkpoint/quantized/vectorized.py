"""Blocks as numbers of another type, where NumPy is installed: the same bits as :mod:`tables`.

Products are formed and rounded as Transformer Engine's kernels do: the number and the scale are
multiplied in float32, and the product is rounded once to the type asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from matrix.checkpoint.quantized.blocks import Blocks, ScaleTile, Tile

Floats = NDArray[np.float32]
_F32, _U32, _U16 = np.dtype("<f4"), np.dtype("<u4"), np.dtype("<u2")


def converter(blocks: Blocks, dtype: str) -> Callable[[Tile], bytes]:
    """Return the function that converts tiles of a weight; any thread may call it.

    :param dtype: the type of the results: ``bfloat16``, ``float16`` or ``float32``.
    """
    codes = _codes(blocks)
    scale_codes = blocks.scales.numbers
    scale_numbers = None if scale_codes is None else np.array(scale_codes, _F32)

    def convert(tile: Tile) -> bytes:
        data = np.frombuffer(blocks.read(tile), np.uint8)
        values = np.take(codes, data, axis=0).reshape(len(tile.rows), -1)
        scales = _scales(blocks, tile, scale_numbers)
        with np.errstate(all="ignore"):  # NaN and infinity are numbers like others
            _multiply(values, scales, blocks.width * blocks.per_byte)
            return _ROUND[dtype](values)

    return convert


def _codes(blocks: Blocks) -> Floats:
    """Return the number of each byte; the two numbers where a byte holds two."""
    codes = np.array(blocks.codes, _F32)
    if blocks.per_byte == 1:
        return codes
    both = np.arange(256)
    return np.stack([codes[both & 15], codes[both >> 4]], axis=1)


def _scales(blocks: Blocks, tile: Tile, numbers: Floats | None) -> Floats:
    """Return the scale of each block of a tile, by rows."""
    held = blocks.read_scales(tile)
    first = tile.rows[0] // blocks.scales.height
    count = tile.rows[-1] // blocks.scales.height - first + 1
    scales = _matrix(held, (count, len(blocks.numbered(tile))), numbers)
    rows = np.arange(tile.rows[0], tile.rows[-1] + 1) // blocks.scales.height - first
    return scales if count == len(rows) else scales[rows]


def _matrix(held: ScaleTile, shape: tuple[int, int], numbers: Floats | None) -> Floats:
    steps = held.row_step, held.block_step
    if numbers is None:
        return np.ndarray(shape, _F32, held.data, 0, steps)
    return np.take(numbers, np.ndarray(shape, np.uint8, held.data, 0, steps))


def _multiply(values: Floats, scales: Floats, width: int) -> None:
    """Multiply each block by its scale; only the last one of a row may be shorter."""
    rows, columns = values.shape
    whole = columns // width
    blocks = values[:, : whole * width].reshape(rows, whole, width)  # a view
    blocks *= scales[:, :whole, None]
    rest = values[:, whole * width :]
    rest *= scales[:, whole : whole + 1]


def _bfloat16(values: Floats) -> bytes:
    bits = values.view(_U32)
    rounded = bits + (0x7FFF + (bits >> 16 & 1))
    upper = rounded.view(_U16)[:, 1::2]
    upper[np.isnan(values)] = 0x7FC0
    return upper.tobytes()


def _float16(values: Floats) -> bytes:
    rounded = values.astype("<f2")
    rounded.view(_U16)[np.isnan(values)] = 0x7E00
    return rounded.tobytes()


def _float32(values: Floats) -> bytes:
    values.view(_U32)[np.isnan(values)] = 0x7FC0_0000
    return values.tobytes()


_ROUND: dict[str, Callable[[Floats], bytes]] = {
    "bfloat16": _bfloat16,
    "float16": _float16,
    "float32": _float32,
}
"""NaN is quiet and positive, as in :mod:`numbers`."""
