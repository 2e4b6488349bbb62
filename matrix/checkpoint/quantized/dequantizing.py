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

import math
import struct
from collections.abc import Callable, Iterator

from matrix.checkpoint.added import AddedStorages
from matrix.checkpoint.copying import CHUNK, Content
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Persistent
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.quantized import numbers
from matrix.checkpoint.quantized.enumerations import E2M1, E4M3, E5M2
from matrix.checkpoint.quantized.numbers import PlaneCache, Planes
from matrix.checkpoint.quantized.weights import QuantizedWeight
from matrix.checkpoint.torchfile import TorchFile

Blocks = Callable[[int], Iterator[bytes]]
"""Returns the bytes of the scales of a row's blocks, in order."""

MXFP8_BLOCK, NVFP4_BLOCK, FP8_BLOCK = 32, 16, 128
_CODES = {E4M3: numbers.E4M3, E5M2: numbers.E5M2}
_FLOAT = struct.Struct("<f")
_SCALE_BYTES = 1 << 28
"""The most bytes of scales that are read of one weight."""
_E2M1_MAX = 6.0


def replace(weight: QuantizedWeight, source: TorchFile, added: AddedStorages, dtype: str) -> None:
    """Make the call that rebuilds a weight one that rebuilds a plain tensor, in place.

    :param dtype: the tensor's element type.
    :raises Malformed: its data is laid out in a way that is not known.
    """
    if not source.little:
        raise Malformed("the file is of a big-endian machine")
    count = math.prod(weight.shape)
    chunks = _CONVERTERS[weight.weight](weight, source, dtype)
    itemsize = numbers.ITEMSIZE[dtype]
    content = Content(count * itemsize, itemsize, chunks)
    tensor = added.add(dtype, weight.shape, content, _location(weight))
    weight.call.function, weight.call.arguments = tensor.function, tensor.arguments


def _location(weight: QuantizedWeight) -> str:
    """Return the device that the data was on."""
    storage = next(iter(weight.tensors.values())).storage
    location = storage.id[3] if isinstance(storage, Persistent) else None
    return location if isinstance(location, str) else "cpu"


Chunks = Callable[[], Iterator[bytes]]


def _float8(weight: QuantizedWeight, source: TorchFile, dtype: str) -> Chunks:
    data = _part(weight, "data", weight.shape)
    (scale,) = _floats(source, weight.tensors["scale_inv"])
    tables = numbers.planes(_codes(weight), scale, dtype)

    def chunks() -> Iterator[bytes]:
        for start in range(0, data.count, CHUNK):
            part = _read(source, data, start, min(CHUNK, data.count - start))
            yield numbers.translate(part, tables)

    return chunks


def _mxfp8(weight: QuantizedWeight, source: TorchFile, dtype: str) -> Chunks:
    codes = _codes(weight)

    def tables(scale: bytes) -> Planes:
        return numbers.planes(codes, numbers.power_of_two(scale[0]), dtype)

    scales = _rows_of_scales(weight, source, 1, MXFP8_BLOCK)
    return _in_blocks(weight, source, MXFP8_BLOCK, scales, tables)


def _blockwise(weight: QuantizedWeight, source: TorchFile, dtype: str) -> Chunks:
    codes = _codes(weight)
    if weight.data_format != "GEMM_READY":
        raise Malformed(f"its data_format is {weight.data_format}")

    def tables(scale: bytes) -> Planes:
        return numbers.planes(codes, _FLOAT.unpack(scale)[0], dtype)

    if weight.values["is_2D_scaled"]:
        scales = _rows_of_scales(weight, source, FP8_BLOCK, FP8_BLOCK)
    else:
        scales = _columns_of_scales(weight, source, FP8_BLOCK)
    return _in_blocks(weight, source, FP8_BLOCK, scales, tables)


def _nvfp4(weight: QuantizedWeight, source: TorchFile, dtype: str) -> Chunks:
    if weight.fp_dtype != E2M1:
        raise Malformed(f"its data is {weight.fp_dtype}, not {E2M1}")
    if weight.values.get("row_scaled_nvfp4", False) or "amax_rowwise" not in weight.tensors:
        raise Malformed("its rows have an amax each, or there is none")
    (amax,) = _floats(source, weight.tensors["amax_rowwise"])
    if weight.shape[-1:] == () or weight.shape[-1] % 2:
        raise Malformed(f"its rows of {weight.shape} do not fill bytes")
    largest = weight.values.get("nvfp4_e4m3_max", 448)
    factor = numbers.float32(1.0 / (_E2M1_MAX * largest))

    def tables(scale: bytes) -> Planes:
        whole = numbers.float32(numbers.float32(numbers.E4M3[scale[0]] * amax) * factor)
        return numbers.planes_of_pairs(numbers.E2M1, whole, dtype)

    scales = _rows_of_scales(weight, source, 1, NVFP4_BLOCK)
    return _in_blocks(weight, source, NVFP4_BLOCK // 2, scales, tables, per_byte=2)


_CONVERTERS: dict[str, Callable[[QuantizedWeight, TorchFile, str], Chunks]] = {
    "Float8Tensor": _float8,
    "MXFP8Tensor": _mxfp8,
    "Float8BlockwiseQTensor": _blockwise,
    "NVFP4Tensor": _nvfp4,
}


def _in_blocks(
    weight: QuantizedWeight,
    source: TorchFile,
    width: int,
    scales: Blocks,
    tables: Callable[[bytes], Planes],
    per_byte: int = 1,
) -> Chunks:
    """Return the results of data whose rows consist of blocks with a scale each.

    :param width: bytes of data in a block; the last one of a row may be shorter.
    :param per_byte: elements in a byte.
    """
    shape = (*weight.shape[:-1], weight.shape[-1] // per_byte) if weight.shape else (1,)
    data = _part(weight, "rowwise_data", shape)
    if weight.values.get("with_gemm_swizzled_scales", False):
        raise Malformed("its scales are in the order of a kernel, not in that of its rows")
    length = shape[-1]
    rows = data.count // length if length else 0
    at_once = max(1, CHUNK // max(1, length))
    cache = PlaneCache(tables)

    def chunks() -> Iterator[bytes]:
        for first in range(0, rows, at_once):
            last = min(rows, first + at_once)
            part = _read(source, data, first * length, (last - first) * length)
            yield cache.translate(_blocks(part, range(first, last), length, width, scales))

    return chunks


def _blocks(
    data: bytes, rows: range, length: int, width: int, scales: Blocks
) -> Iterator[tuple[bytes, bytes]]:
    for place, row in enumerate(rows):
        start = place * length
        offsets = range(start, start + length, width)
        # There are more scales than blocks: they are padded.
        for offset, scale in zip(offsets, scales(row), strict=False):
            yield data[offset : min(offset + width, start + length)], scale


def _rows_of_scales(weight: QuantizedWeight, source: TorchFile, height: int, width: int) -> Blocks:
    """Return scales that lie as their blocks of ``height`` x ``width`` elements do."""
    tensor, data = _scales(weight, source)
    size, stride = tensor.itemsize, tensor.shape[-1] * tensor.itemsize
    rows, columns = _matrix(weight)
    _need(tensor.shape[-2], -(-rows // height))
    _need(tensor.shape[-1], -(-columns // width))

    def scales(row: int) -> Iterator[bytes]:
        start = row // height * stride
        return (data[at : at + size] for at in range(start, start + stride, size))

    return scales


def _columns_of_scales(weight: QuantizedWeight, source: TorchFile, width: int) -> Blocks:
    """Return scales of 1 x ``width`` elements that lie across: one column for a row of data."""
    tensor, data = _scales(weight, source)
    size, stride = tensor.itemsize, tensor.shape[-1] * tensor.itemsize
    rows, columns = _matrix(weight)
    _need(tensor.shape[-1], rows)
    _need(tensor.shape[-2], -(-columns // width))

    def scales(row: int) -> Iterator[bytes]:
        return (data[at : at + size] for at in range(row * size, len(data), stride))

    return scales


def _scales(weight: QuantizedWeight, source: TorchFile) -> tuple[TensorRef, bytes]:
    tensor = weight.tensors.get("rowwise_scale_inv")
    if tensor is None:
        raise Malformed(f"it holds nothing but {', '.join(weight.tensors)}")
    if len(tensor.shape) != 2:
        raise Malformed("its scales are no matrix")
    return tensor, source.storage(tensor, _SCALE_BYTES)


def _matrix(weight: QuantizedWeight) -> tuple[int, int]:
    """Return rows and columns of a weight, all dimensions but the last taken as one."""
    return math.prod(weight.shape[:-1]), weight.shape[-1] if weight.shape else 1


def _need(held: int, needed: int) -> None:
    if held < needed:
        raise Malformed(f"it has scales for {held} rows or blocks, and needs {needed}")


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


def _floats(source: TorchFile, tensor: TensorRef) -> tuple[float, ...]:
    """Return the only number of a tensor."""
    if (tensor.dtype, tensor.count) != ("float32", 1):
        raise Malformed(f"a scale of {tensor.count} {tensor.dtype}, where one float32 belongs")
    return _FLOAT.unpack(source.storage(tensor, _FLOAT.size))


def _read(source: TorchFile, tensor: TensorRef, start: int, size: int) -> bytes:
    data = source.storages.read(tensor.key, tensor.offset + start, size, size)
    if len(data) != size:
        raise Malformed(f"storage {tensor.key} is shorter than its tensor")
    return data
