"""Quantizing by recipes other than delayed scaling, as far as weights need it.

Emulated are ``quantize``, ``dequantize`` and ``create_empty_quantized_tensor`` with quantizers of
current scaling, MXFP8, FP8 block scaling and NVFP4, on two-dimensional weights: each block is
scaled by its own amax and cast, and the layout of data and scales is that which the release's
own Python asks for (``get_scale_shape`` of its quantizers; transformer_engine/pytorch/csrc/
quantizer.cpp for releases that leave it to the extension).

It is no model of the kernels: bytes may differ from those of a GPU in the last bit, padding of
scales is zero, scales are not swizzled, and Hadamard transforms, stochastic rounding, 4-over-6
and row-wise scales of NVFP4 are gaps. What it serves is telling whether a checkpoint comes back
as it was saved, which needs the classes, shapes, dtypes and distinct values, and no GEMM.
"""

import math
from typing import Any, Callable, Dict, Optional, Tuple

import torch

from matrix.worker.standin import fp8
from matrix.worker.standin.gap import EmulationGap, ExtensionError

Pair = Tuple[int, int]

MXFP8_BLOCK = 32
NVFP4_BLOCK = 16
FP8_BLOCK = 128
_E4M3_MAX = 448.0
_E2M1_MAX = 6.0
_BIAS = 127  # of E8M0, which holds an exponent and nothing else
_E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_BETWEEN = (_E2M1[1:] + _E2M1[:-1]) / 2


def kind_of(held: Any) -> Optional[str]:
    """Return the kind of a quantizer or quantized tensor by its class; None for any other."""
    name = type(held).__name__
    return next((kind for start, kind in _KINDS.items() if name.startswith(start)), None)


_KINDS = {
    "Float8CurrentScalingQuantizer": "current",
    "MXFP8": "mxfp8",
    "Float8Block": "block",
    "NVFP4": "nvfp4",
}


# Blocks of a matrix.


def _matrix(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().reshape(-1, tensor.shape[-1])


def _amaxes(matrix: torch.Tensor, block: Pair) -> torch.Tensor:
    """Return the largest magnitude of each block: (blocks of rows, blocks of columns)."""
    rows, columns = (math.ceil(size / by) for size, by in zip(matrix.shape, block))
    padded = matrix.new_zeros(rows * block[0], columns * block[1])
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix.abs()
    return padded.reshape(rows, block[0], columns, block[1]).amax(dim=(1, 3))


def _spread(scales: torch.Tensor, block: Pair, like: torch.Tensor) -> torch.Tensor:
    """Return one scale per element of ``like`` from one per block."""
    whole = scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return whole[: like.shape[0], : like.shape[1]]


def _put(found: torch.Tensor, into: torch.Tensor) -> None:
    """Copy into the upper left of a tensor that may be padded, and clear the padding."""
    values = into.view(found.dtype) if into.dtype == torch.uint8 else into
    values.zero_()
    values[tuple(slice(size) for size in found.shape)] = found


# MXFP8: rows and columns of 32, with a power of two for each.


def _mxfp8_scales(matrix: torch.Tensor, block: Pair) -> torch.Tensor:
    """Return the biased exponent of the smallest power of two that fits each block.

    It is rounded up, as ``float_to_e8m0`` does (transformer_engine/common/util/ptx.cuh).
    """
    mantissas, exponents = torch.frexp(_amaxes(matrix, block) * (1.0 / _E4M3_MAX))
    exponents = torch.where(mantissas > 0.5, exponents, exponents - 1)
    return (exponents.clamp(-_BIAS, _BIAS) + _BIAS).to(torch.uint8)


def _powers(exponents: torch.Tensor) -> torch.Tensor:
    return torch.exp2(exponents.float() - _BIAS)


def _quantize_mxfp8(tensor: torch.Tensor, quantizer: Any, output: Any, name: str) -> None:
    matrix = _matrix(tensor)
    for side, block in (("rowwise", (1, MXFP8_BLOCK)), ("columnwise", (MXFP8_BLOCK, 1))):
        data = getattr(output, "_{}_data".format(side))
        if data is None:
            continue
        scales = _mxfp8_scales(matrix, block)
        _put(scales, getattr(output, "_{}_scale_inv".format(side)))
        cast = _cast(matrix / _spread(_powers(scales), block, matrix), name)
        data.copy_(cast.view(data.shape))


def _dequantize_mxfp8(tensor: Any, name: str) -> torch.Tensor:
    values = _values(tensor._rowwise_data, name)
    scales = tensor._rowwise_scale_inv.view(torch.uint8)
    return values * _spread(_powers(scales), (1, MXFP8_BLOCK), values)


# FP8 block scaling: blocks of 128 x 128 or 1 x 128, with a float32 for each.


def _quantize_block(tensor: torch.Tensor, quantizer: Any, output: Any, name: str) -> None:
    if quantizer.block_scaling_dim != 2:
        raise EmulationGap("quantize() with blocks of one dimension")
    matrix, block = _matrix(tensor), (FP8_BLOCK, FP8_BLOCK)
    amaxes = _amaxes(matrix, block).clamp(min=quantizer.amax_epsilon)
    scales = _E4M3_MAX / amaxes
    if quantizer.force_pow_2_scales:
        scales = torch.exp2(torch.floor(torch.log2(scales)))
    cast = _cast(matrix * _spread(scales, block, matrix), name)
    if output._rowwise_data is not None:
        output._rowwise_data.copy_(cast.view(output._rowwise_data.shape))
        _put(1.0 / scales, output._rowwise_scale_inv)
    if output._columnwise_data is not None:
        output._columnwise_data.copy_(cast.t().reshape(output._columnwise_data.shape))
        _put((1.0 / scales).t(), output._columnwise_scale_inv)


def _dequantize_block(tensor: Any, name: str) -> torch.Tensor:
    values = _values(tensor._rowwise_data, name)
    return values * _spread(tensor._rowwise_scale_inv, (FP8_BLOCK, FP8_BLOCK), values)


# NVFP4: blocks of 16 x 16 or 1 x 16 with an E4M3 for each, and a float32 for all.

_NOT_EMULATED = ("with_rht", "stochastic_rounding", "row_scaled_nvfp4", "nvfp4_use_4over6")


def _quantize_nvfp4(tensor: torch.Tensor, quantizer: Any, output: Any, _name: str) -> None:
    asked = [option for option in _NOT_EMULATED if getattr(quantizer, option, False)]
    if asked:
        raise EmulationGap("quantize() with {}".format(", ".join(asked)))
    matrix = _matrix(tensor)
    rows = NVFP4_BLOCK if quantizer.with_2d_quantization else 1
    for side, seen in (("rowwise", matrix), ("columnwise", matrix.t())):
        data = getattr(output, "_{}_data".format(side))
        if data is None:
            continue
        largest = seen.abs().max()
        scales = _nvfp4_scales(seen, (rows, NVFP4_BLOCK), largest)
        whole = scales.float() * largest / (_E4M3_MAX * _E2M1_MAX)
        codes = _fp4(seen / _spread(whole, (rows, NVFP4_BLOCK), seen))
        data.copy_((codes[:, 0::2] | (codes[:, 1::2] << 4)).view(data.shape))
        # There is one scale per row in blocks of 16 rows, too.
        per_row = scales.view(torch.uint8).repeat_interleave(rows, 0)
        _put(per_row[: seen.shape[0]], getattr(output, "_{}_scale_inv".format(side)))
        getattr(output, "_amax_{}".format(side)).fill_(largest)


def _nvfp4_scales(seen: torch.Tensor, block: Pair, largest: torch.Tensor) -> torch.Tensor:
    scales = _amaxes(seen, block) / largest * _E4M3_MAX
    return scales.clamp(max=_E4M3_MAX).to(torch.float8_e4m3fn)


def _fp4(values: torch.Tensor) -> torch.Tensor:
    """Return the codes of E2M1, rounded to the nearest value, and to even between two."""
    magnitudes = values.abs().clamp(max=_E2M1_MAX).contiguous()
    codes = torch.bucketize(magnitudes, _BETWEEN)
    tied = magnitudes == _BETWEEN[codes.clamp(max=len(_BETWEEN) - 1)]
    codes = torch.where(tied & (codes % 2 == 1), codes + 1, codes)
    return (codes + 8 * torch.signbit(values)).to(torch.uint8)


def _dequantize_nvfp4(tensor: Any, _name: str) -> torch.Tensor:
    packed = tensor._rowwise_data.reshape(-1, tensor._rowwise_data.shape[-1])
    codes = torch.stack([packed & 15, packed >> 4], dim=-1).reshape(packed.shape[0], -1).long()
    values = _E2M1[codes % 8] * (1 - 2 * (codes // 8))
    scales = tensor._rowwise_scale_inv.view(torch.float8_e4m3fn).float()
    whole = scales * tensor._amax_rowwise / (_E4M3_MAX * _E2M1_MAX)
    return values * _spread(whole, (1, NVFP4_BLOCK), values)


# Current scaling: one scale for the tensor, from its own amax.


def _quantize_current(tensor: torch.Tensor, quantizer: Any, output: Any, name: str) -> None:
    limit = torch.finfo(fp8.torch_type(name)).max
    amax = tensor.detach().abs().max().float().clamp(min=quantizer.amax_epsilon)
    scale = torch.where(amax > 0, limit / amax, torch.ones(()))
    if quantizer.force_pow_2_scales:
        scale = torch.exp2(torch.floor(torch.log2(scale)))
    data = fp8.quantize(tensor, scale, name)
    if output._data is not None:
        output._data.copy_(data.view(output._data.shape))
    if output._transpose is not None:
        matrix = data.reshape(-1, data.shape[-1])
        output._transpose.copy_(matrix.t().reshape(output._transpose.shape))
        output._transpose_invalid = False
    output._scale_inv.copy_((1.0 / scale).reshape(output._scale_inv.shape))


def _cast(matrix: torch.Tensor, name: str) -> torch.Tensor:
    return fp8.quantize(matrix, torch.ones(()), name)


def _values(data: torch.Tensor, name: str) -> torch.Tensor:
    found = fp8.dequantize(data, torch.ones(()), name, torch.float32)
    return found.reshape(-1, data.shape[-1])


_QUANTIZE: Dict[str, Callable[[torch.Tensor, Any, Any, str], None]] = {
    "current": _quantize_current,
    "mxfp8": _quantize_mxfp8,
    "block": _quantize_block,
    "nvfp4": _quantize_nvfp4,
}
_DEQUANTIZE: Dict[str, Callable[[Any, str], torch.Tensor]] = {
    "mxfp8": _dequantize_mxfp8,
    "block": _dequantize_block,
    "nvfp4": _dequantize_nvfp4,
}


def quantize(tensor: torch.Tensor, quantizer: Any, output: Any, name: str) -> None:
    """Quantize ``tensor`` into ``output``, a quantized tensor of the release's own class.

    :param name: name of the ``DType`` that it is cast to.
    """
    _QUANTIZE[_known(quantizer)](tensor, quantizer, output, name)


def dequantize(tensor: Any, name: str, dtype: torch.dtype) -> torch.Tensor:
    """Return a quantized tensor as numbers.

    :param name: name of the ``DType`` of its data.
    """
    kind = _known(tensor)
    if kind == "mxfp8" and name not in fp8.NAMES:
        # CheckInputTensor in transformer_engine/common/transformer_engine.cpp, 2.0 to 2.18.
        raise ExtensionError("Scale_inv is not supported for non-FP8 input cast_input")
    if kind not in _DEQUANTIZE or tensor._rowwise_data is None:
        raise EmulationGap("dequantize() of a {}".format(type(tensor).__name__))
    return _DEQUANTIZE[kind](tensor, name).reshape(tuple(tensor.shape)).to(dtype)


def _known(held: Any) -> str:
    kind = kind_of(held)
    if kind is None:
        raise EmulationGap("quantizing with a {}".format(type(held).__name__))
    return kind


def create_empty(quantizer: Any, shape: Tuple[int, ...], dtype: Any, device: Any) -> Any:
    """Build an uninitialised quantized tensor, whose scales are zero.

    :param shape: shape of the tensor that it stands for.
    """
    kind = _known(quantizer)
    if quantizer.internal:
        raise EmulationGap("an empty tensor without a class of PyTorch's")
    parts: Dict[str, Any] = {}
    for side, used in (
        ("rowwise", quantizer.rowwise_usage),
        ("columnwise", quantizer.columnwise_usage),
    ):
        column = side == "columnwise"
        size = _data_shape(kind, quantizer, shape, column)
        scales = tuple(quantizer.get_scale_shape(shape, columnwise=column))
        held = torch.float32 if kind == "block" else torch.uint8
        parts[side + "_data"] = (
            torch.zeros(size, dtype=torch.uint8, device=device) if used else None
        )
        parts[side + "_scale_inv"] = (
            torch.zeros(scales, dtype=held, device=device) if used else None
        )
        if kind == "nvfp4":
            parts["amax_" + side] = torch.zeros(1, device=device) if used else None
    return _class_of(kind)(
        shape=shape, dtype=dtype, quantizer=quantizer, **parts, **_marks(kind, quantizer)
    )


def _data_shape(kind: str, quantizer: Any, shape: Tuple[int, ...], column: bool) -> Tuple[int, ...]:
    if column and kind != "mxfp8":
        shape = tuple(quantizer.get_columnwise_shape(shape))
    return tuple(quantizer.convert_shape_for_fp4(shape)) if kind == "nvfp4" else shape


def _marks(kind: str, quantizer: Any) -> Dict[str, Any]:
    """Return the arguments of a tensor's class beside data and scales."""
    if kind == "block":
        return {"fp8_dtype": quantizer.dtype, "is_2D_scaled": quantizer.block_scaling_dim == 2}
    name = "fp4_dtype" if kind == "nvfp4" else "fp8_dtype"
    return {name: quantizer.dtype, "with_gemm_swizzled_scales": False}


def _class_of(kind: str) -> Any:
    import transformer_engine.pytorch.tensor as tensors

    if kind == "mxfp8":
        return tensors.mxfp8_tensor.MXFP8Tensor
    if kind == "block":
        return tensors.float8_blockwise_tensor.Float8BlockwiseQTensor
    return tensors.nvfp4_tensor.NVFP4Tensor
