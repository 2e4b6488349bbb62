"""Quantized weights as plain tensors: values times scales, as releases dequantize them.

Data is read and converted in chunks while the result is written.

- ``Float8Tensor``: one scale for all (``common/cast/fp8/dequantize_fp8.cuh``)
- ``MXFP8Tensor``: an E8M0 for 32 elements of a row (``common/cast/mxfp8/dequantize_mxfp8.cuh``)
- ``Float8BlockwiseQTensor``: a float32 for 128 x 128 or 1 x 128 elements
  (``pytorch/tensor/storage/float8_blockwise_tensor_storage.py``)
- ``NVFP4Tensor``: an E4M3 for 16 elements of a row, times the tensor's amax over the largest
  numbers of both types (``common/cast/nvfp4/dequantize_nvfp4.cuh``)
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import math
import struct
from collections.abc import Callable, Iterator

from matrix.checkpoint.added import AddedStorages
from matrix.checkpoint.copying import Content, Piece
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Persistent
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.quantized import numbers
from matrix.checkpoint.quantized.blocks import Blocks, Convert, Scales, Tile
from matrix.checkpoint.quantized.enumerations import E2M1, E4M3, E5M2
from matrix.checkpoint.quantized.weights import QuantizedWeight
from matrix.checkpoint.torchfile import TorchFile

MXFP8_BLOCK, NVFP4_BLOCK, FP8_BLOCK = 32, 16, 128
_CODES = {E4M3: numbers.E4M3, E5M2: numbers.E5M2}
_FLOAT = struct.Struct("<f")
_E2M1_MAX = 6.0
_TILES = 8
"""Tiles that a thread converts at once."""
_POWERS = tuple(map(numbers.power_of_two, range(256)))


def replace(weight: QuantizedWeight, source: TorchFile, added: AddedStorages, dtype: str) -> None:
    """Make the call that rebuilds a weight one that rebuilds a plain tensor, in place.

    :param dtype: the tensor's element type.
    :raises Malformed: its data is laid out in a way that is not known.
    """
    if not source.little:
        raise Malformed("the file is of a big-endian machine")
    itemsize = numbers.ITEMSIZE[dtype]
    blocks = _LAYOUTS[weight.weight](weight, source)
    pieces = functools.partial(_pieces, blocks, dtype)
    content = Content(math.prod(weight.shape) * itemsize, itemsize, pieces)
    tensor = added.add(dtype, weight.shape, content, _location(weight))
    weight.call.function, weight.call.arguments = tensor.function, tensor.arguments


def _pieces(blocks: Blocks, dtype: str) -> Iterator[Piece]:
    """Yield a weight as numbers of another type."""
    convert = _converter(blocks, dtype)
    width = blocks.per_byte * numbers.ITEMSIZE[dtype]
    tiles = blocks.tiles()
    while group := [*itertools.islice(tiles, _TILES)]:
        sizes = [len(tile.rows) * len(tile.columns) * width for tile in group]
        yield Piece(sum(sizes), functools.partial(_fill, convert, group, sizes))


def _fill(convert: Convert, tiles: list[Tile], sizes: list[int], memory: memoryview) -> None:
    """Convert tiles, one behind the other."""
    start = 0
    for tile, size in zip(tiles, sizes, strict=True):
        convert(tile, memory[start : start + size])
        start += size


def _converter(blocks: Blocks, dtype: str) -> Convert:
    """Return what converts tiles, as fast as what is installed allows."""
    if importlib.util.find_spec("numpy") is None:
        from matrix.checkpoint.quantized import tables

        return tables.converter(blocks, dtype)
    from matrix.checkpoint.quantized import vectorized

    return vectorized.converter(blocks, dtype)


def _location(weight: QuantizedWeight) -> str:
    """Return the device that the data was on."""
    storage = next(iter(weight.tensors.values())).storage
    location = storage.id[3] if isinstance(storage, Persistent) else None
    return location if isinstance(location, str) else "cpu"


def _float8(weight: QuantizedWeight, source: TorchFile) -> Blocks:
    data = _part(weight, "data", weight.shape)
    scale = weight.tensors["scale_inv"]
    _float(source, scale)
    scales = Scales(source.span(scale), _FLOAT.size, 0, 0, 1, None)
    return Blocks(source.span(data), 1, data.count, max(1, data.count), _codes(weight), scales)


def _mxfp8(weight: QuantizedWeight, source: TorchFile) -> Blocks:
    scales = _rows_of_scales(weight, source, 1, MXFP8_BLOCK, _POWERS)
    return _blocks(weight, source, MXFP8_BLOCK, _codes(weight), scales)


def _blockwise(weight: QuantizedWeight, source: TorchFile) -> Blocks:
    if weight.data_format != "GEMM_READY":
        raise Malformed(f"its data_format is {weight.data_format}")
    if weight.values["is_2D_scaled"]:
        scales = _rows_of_scales(weight, source, FP8_BLOCK, FP8_BLOCK)
    else:
        scales = _columns_of_scales(weight, source, FP8_BLOCK)
    return _blocks(weight, source, FP8_BLOCK, _codes(weight), scales)


def _nvfp4(weight: QuantizedWeight, source: TorchFile) -> Blocks:
    if weight.fp_dtype != E2M1:
        raise Malformed(f"its data is {weight.fp_dtype}, not {E2M1}")
    if weight.values.get("row_scaled_nvfp4", False) or "amax_rowwise" not in weight.tensors:
        raise Malformed("its rows have an amax each, or there is none")
    amax = _float(source, weight.tensors["amax_rowwise"])
    if weight.shape[-1:] == () or weight.shape[-1] % 2:
        raise Malformed(f"its rows of {weight.shape} do not fill bytes")
    factor = numbers.float32(1.0 / (_E2M1_MAX * weight.values.get("nvfp4_e4m3_max", 448)))
    products = [numbers.float32(code * amax) for code in numbers.E4M3]
    of_codes = tuple(numbers.float32(product * factor) for product in products)
    scales = _rows_of_scales(weight, source, 1, NVFP4_BLOCK, of_codes)
    return _blocks(weight, source, NVFP4_BLOCK // 2, numbers.E2M1, scales)


_LAYOUTS: dict[str, Callable[[QuantizedWeight, TorchFile], Blocks]] = {
    "Float8Tensor": _float8,
    "MXFP8Tensor": _mxfp8,
    "Float8BlockwiseQTensor": _blockwise,
    "NVFP4Tensor": _nvfp4,
}


def _blocks(
    weight: QuantizedWeight,
    source: TorchFile,
    width: int,
    codes: tuple[float, ...],
    scales: Scales,
) -> Blocks:
    """Return data whose rows consist of blocks.

    :param width: bytes of data in a block.
    """
    per_byte = 2 if codes is numbers.E2M1 else 1
    shape = (*weight.shape[:-1], weight.shape[-1] // per_byte) if weight.shape else (1,)
    data = _part(weight, "rowwise_data", shape)
    if weight.values.get("with_gemm_swizzled_scales", False):
        raise Malformed("its scales are in the order of a kernel, not in that of its rows")
    rows = data.count // shape[-1] if shape[-1] else 0
    return Blocks(source.span(data), rows, shape[-1], width, codes, scales)


def _rows_of_scales(
    weight: QuantizedWeight,
    source: TorchFile,
    height: int,
    width: int,
    of_codes: tuple[float, ...] | None = None,
) -> Scales:
    """Return scales that lie as their blocks of ``height`` x ``width`` elements do.

    :param of_codes: the numbers that scales of one byte stand for.
    """
    tensor = _scales(weight, 4 if of_codes is None else 1)
    rows, columns = _matrix(weight)
    _need(tensor.shape[-2], -(-rows // height))
    _need(tensor.shape[-1], -(-columns // width))
    size, step = tensor.itemsize, tensor.shape[-1] * tensor.itemsize
    return Scales(source.span(tensor), size, step, size, height, of_codes)


def _columns_of_scales(weight: QuantizedWeight, source: TorchFile, width: int) -> Scales:
    """Return scales of 1 x ``width`` elements that lie across: one column for a row of data."""
    tensor = _scales(weight, 4)
    rows, columns = _matrix(weight)
    _need(tensor.shape[-1], rows)
    _need(tensor.shape[-2], -(-columns // width))
    size, step = tensor.itemsize, tensor.shape[-1] * tensor.itemsize
    return Scales(source.span(tensor), size, size, step, 1, None)


def _scales(weight: QuantizedWeight, itemsize: int) -> TensorRef:
    tensor = weight.tensors.get("rowwise_scale_inv")
    if tensor is None:
        raise Malformed(f"it holds nothing but {', '.join(weight.tensors)}")
    if len(tensor.shape) != 2:
        raise Malformed("its scales are no matrix")
    if tensor.itemsize != itemsize:
        raise Malformed(f"its scales have {tensor.itemsize} bytes each, not {itemsize}")
    return tensor


def _matrix(weight: QuantizedWeight) -> tuple[int, int]:
    """Return rows and columns of a weight, all dimensions but the last taken as one."""
    return math.prod(weight.shape[:-1]), weight.shape[-1] if weight.shape else 1


def _need(held: int, needed: int) -> None:
    if held < needed:
        raise Malformed(f"of its rows or blocks {held} have scales, and {needed} need them")


def _part(weight: QuantizedWeight, name: str, shape: tuple[int, ...]) -> TensorRef:
    """Return a tensor of a weight, after checking that it has the size of the weight."""
    data = weight.tensors.get(name)
    if data is None:
        raise Malformed(f"it holds nothing but {', '.join(weight.tensors)}")
    if data.count != math.prod(shape):
        raise Malformed(f"its {name} is {data.shape}, for a weight of {weight.shape}")
    return data


def _codes(weight: QuantizedWeight) -> tuple[float, ...]:
    if weight.fp_dtype not in _CODES:
        raise Malformed(f"its data is {weight.fp_dtype}, no FP8 type")
    return _CODES[weight.fp_dtype]


def _float(source: TorchFile, tensor: TensorRef) -> float:
    """Return the only number of a tensor."""
    if (tensor.dtype, tensor.count) != ("float32", 1):
        raise Malformed(f"a scale of {tensor.count} {tensor.dtype}, where one float32 belongs")
    (number,) = _FLOAT.unpack(source.storage(tensor, _FLOAT.size))
    return float(number)
