"""Blocks as numbers of another type, where NumPy is installed: the same bits as :mod:`tables`.

Products are formed and rounded as Transformer Engine's kernels do: the number and the scale are
multiplied in float32, and the product is rounded once to the type asked for.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matrix.checkpoint.quantized.blocks import Blocks, Convert, ScaleTile, Tile

Floats = NDArray[np.float32]
_F32, _U32, _U16 = np.dtype("<f4"), np.dtype("<u4"), np.dtype("<u2")


class _Scratch(threading.local):
    """Arrays of a thread that are used again: new memory costs more than all of the arithmetic."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[Any]] = {}

    def array(self, name: str, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        """Return an array with any content; the next of its name takes its place."""
        held = self._held.get(name)
        if held is None or held.size < count:
            held = self._held[name] = np.empty(count, dtype)
        return held[:count]


_scratch = _Scratch()


def converter(blocks: Blocks, dtype: str) -> Convert:
    """Return the function that converts tiles of a weight.

    :param dtype: the type of the results: ``bfloat16``, ``float16`` or ``float32``.
    """
    codes = tuple(blocks.codes)
    of_scales = blocks.scales.numbers
    scale_numbers = None if of_scales is None else np.array(of_scales, _F32)

    def convert(tile: Tile, memory: memoryview) -> None:
        values = _numbers(blocks.read(tile), codes).reshape(len(tile.rows), -1)
        scales = _scales(blocks, tile, scale_numbers)
        with np.errstate(all="ignore"):  # NaN and infinity are numbers like others
            _multiply(values, scales, blocks.width * blocks.per_byte)
            _ROUND[dtype](values.reshape(-1), memory)

    return convert


def _numbers(data: bytes, codes: tuple[float, ...]) -> Floats:
    """Return the numbers of all codes in data. Two bytes are looked up at once, if they are even.

    A look-up takes as long for two bytes as for one.
    """
    odd = len(data) % 2
    table = _of_bytes(codes) if odd else _of_pairs(codes)
    keys = np.frombuffer(data, np.uint8 if odd else _U16)
    places = _scratch.array("places", np.dtype(np.intp), keys.size)
    np.copyto(places, keys)
    values = _scratch.array("values", _F32, keys.size * table.shape[1])
    # Every place is in the table; to raise where one is not, NumPy would fill another array first.
    np.take(table, places, axis=0, out=values.reshape(keys.size, -1), mode="clip")
    return values


@functools.cache
def _of_bytes(codes: tuple[float, ...]) -> Floats:
    """Return the number of each byte; its two numbers where it holds two codes."""
    numbers = np.array(codes, _F32)
    both = np.arange(256)
    halves = [numbers[both & 15], numbers[both >> 4]]
    return np.stack([numbers] if len(codes) == 256 else halves, axis=1)


@functools.cache
def _of_pairs(codes: tuple[float, ...]) -> Floats:
    """Return the numbers of each two bytes."""
    of_bytes, both = _of_bytes(codes), np.arange(1 << 16)
    return np.concatenate([of_bytes[both & 255], of_bytes[both >> 8]], axis=1)


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


def _bfloat16(values: Floats, memory: memoryview) -> None:
    bits = values.view(_U32)
    rounded = _scratch.array("rounded", _U32, bits.size)
    np.right_shift(bits, 16, out=rounded)
    np.bitwise_and(rounded, 1, out=rounded)
    np.add(rounded, 0x7FFF, out=rounded)
    np.add(rounded, bits, out=rounded)
    out = np.frombuffer(memory, _U16)
    np.copyto(out, rounded.view(_U16)[1::2])
    np.copyto(out, _U16.type(0x7FC0), where=_nan(values))


def _float16(values: Floats, memory: memoryview) -> None:
    out = np.frombuffer(memory, "<f2")
    np.copyto(out, values, casting="same_kind")
    np.copyto(out.view(_U16), _U16.type(0x7E00), where=_nan(values))


def _float32(values: Floats, memory: memoryview) -> None:
    out = np.frombuffer(memory, _F32)
    np.copyto(out, values)
    np.copyto(out.view(_U32), _U32.type(0x7FC0_0000), where=_nan(values))


def _nan(values: Floats) -> NDArray[np.bool_]:
    return np.isnan(values, out=_scratch.array("nan", np.dtype(np.bool_), values.size))


_ROUND: dict[str, Callable[[Floats, memoryview], None]] = {
    "bfloat16": _bfloat16,
    "float16": _float16,
    "float32": _float32,
}
"""NaN is quiet and positive, as in :mod:`numbers`."""
