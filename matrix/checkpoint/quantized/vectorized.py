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
from matrix.checkpoint.quantized.numbers import ITEMSIZE

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
    return _looked_up(blocks, dtype) if blocks.scales.is_one else _computed(blocks, dtype)


def _looked_up(blocks: Blocks, dtype: str) -> Convert:
    """Return it for a weight with one scale: the result of every two bytes is in a table."""
    scale = _matrix(blocks.scales.read(range(1), range(1)), (1, 1), None)

    def results(numbers: Floats) -> NDArray[Any]:
        memory = bytearray(numbers.size * ITEMSIZE[dtype])
        with np.errstate(all="ignore"):
            _ROUND[dtype]((numbers * scale).reshape(-1), memoryview(memory))
        return np.frombuffer(memory, f"<u{ITEMSIZE[dtype]}").reshape(numbers.shape)

    codes = tuple(blocks.codes)
    of_bytes, of_pairs = results(_of_bytes(codes)), results(_of_pairs(codes))

    def convert(tile: Tile, memory: memoryview) -> None:
        _look_up(blocks.read(tile), of_bytes, of_pairs, np.frombuffer(memory, of_bytes.dtype))

    return convert


def _computed(blocks: Blocks, dtype: str) -> Convert:
    """Return it for a weight with many scales: numbers are looked up, multiplied and rounded."""
    codes = tuple(blocks.codes)
    of_scales = blocks.scales.numbers
    scale_numbers = None if of_scales is None else np.array(of_scales, _F32)

    def convert(tile: Tile, memory: memoryview) -> None:
        data = blocks.read(tile)
        values = _scratch.array("values", _F32, len(data) * blocks.per_byte)
        _look_up(data, _of_bytes(codes), _of_pairs(codes), values)
        scales = _scales(blocks, tile, scale_numbers)
        with np.errstate(all="ignore"):  # NaN and infinity are numbers like others
            rows = values.reshape(len(tile.rows), -1)
            _multiply(rows, scales, blocks.width * blocks.per_byte)
            _ROUND[dtype](values, memory)

    return convert


def _look_up(
    data: bytes, of_bytes: NDArray[Any], of_pairs: NDArray[Any], out: NDArray[Any]
) -> None:
    """Write what tables have for data; for two bytes at once, if their number is even.

    That takes as long as for one.
    """
    odd = len(data) % 2
    keys = np.frombuffer(data, np.uint8 if odd else _U16)
    places = _scratch.array("places", np.dtype(np.intp), keys.size)
    np.copyto(places, keys)
    # Every place is in the table; to raise where one is not, NumPy would fill another array first.
    table = of_bytes if odd else of_pairs
    np.take(table, places, axis=0, out=out.reshape(keys.size, -1), mode="clip")


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
