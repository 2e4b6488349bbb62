"""The few functions of the compiled extension that saving and loading checkpoints calls.

Casts to and from FP8, the transpose of FP8 bytes, and the update of amax history and scale,
computed on the CPU; besides, some facts about libraries and hardware that real code asks for.
They take the arguments in the order that every release gives them in.
"""

from typing import Any, Callable, Dict, Optional, Tuple

import torch

from matrix.worker.standin import fp8, quantized
from matrix.worker.standin.exports import Exports
from matrix.worker.standin.gap import EmulationGap, Missing
from matrix.worker.standin.signatures import called_as

_names: Dict[int, str] = {}
"""Names of the release's ``DType`` by number."""


def install(module: Any, exports: Exports) -> None:
    """Put these functions into the extension, those that the release has there.

    :param module: the extension, compiled or not.
    :param exports: what the release's extension exports.
    """
    _names.update((int(member), name) for name, member in module.DType.__members__.items())
    for name, function in EMULATED.items():
        if name in exports.functions:
            setattr(module, name, called_as(name, exports.functions[name], function))
    torch.ops.tex_ts = _Operators()


def _fp8_name(dtype: Any) -> str:
    """Return the name of an FP8 type given as ``DType`` or as its number."""
    name = _names[int(dtype)]
    if name not in ("kFloat8E4M3", "kFloat8E5M2"):
        raise EmulationGap("a cast with {} in the place of an FP8 type".format(name))
    return name


def _torch_dtype(dtype: Any) -> torch.dtype:
    """Return the PyTorch type of a high-precision ``DType``."""
    name = _names[int(dtype)]
    kinds = {
        "kFloat32": torch.float32,
        "kFloat16": torch.float16,
        "kBFloat16": torch.bfloat16,
    }
    if name not in kinds:
        raise EmulationGap("a cast to {}".format(name))
    return kinds[name]


# Casts of 1.x. 1.11 and later pass whole tensors and offsets, earlier ones single elements.


def cast_to_fp8(
    inp: Any,
    scale: Any,
    amax: Any,
    scale_inv: Any,
    otype: Any,
    scale_offset: int = 0,
    amax_offset: int = 0,
    scale_inv_offset: int = 0,
) -> torch.Tensor:
    """Return ``inp`` as FP8 bytes; note its amax and the inverse of its scale."""
    factor = _slot(scale, scale_offset)
    data = fp8.quantize(inp, factor, _fp8_name(otype))
    fp8.note_amax(inp, _slot(_newest(amax), amax_offset))
    _slot(scale_inv, scale_inv_offset).copy_(1.0 / factor)
    return data


def cast_to_fp8_noalloc(
    inp: Any, scale: Any, out: Any, amax: Any, scale_inv: Any, otype: Any, *offsets: int
) -> None:
    """Do the same as :func:`cast_to_fp8`, into ``out``."""
    out.copy_(cast_to_fp8(inp, scale, amax, scale_inv, otype, *offsets).view(out.shape))


def cast_from_fp8(
    inp: Any, scale_inv: Any, itype: Any, otype: Any, scale_inv_offset: int = 0
) -> torch.Tensor:
    """Return FP8 bytes as numbers of type ``otype``."""
    inverse = _slot(scale_inv, scale_inv_offset)
    return fp8.dequantize(inp, inverse, _fp8_name(itype), _torch_dtype(otype))


def fp8_transpose(data: Any, otype: Any = None, *, out: Optional[Any] = None) -> torch.Tensor:
    """Return the transpose of a matrix of FP8 bytes, its last axis moved to the front."""
    rows = data.reshape(-1, data.shape[-1])
    turned = rows.t().contiguous()
    shaped = turned.view(data.shape[-1], *data.shape[:-1])
    return shaped if out is None else out.copy_(shaped)


def fp8_transpose_noalloc(data: Any, out: Any, otype: Any) -> None:
    """Do the same as :func:`fp8_transpose`, into ``out``."""
    out.copy_(fp8_transpose(data).view(out.shape))


def fp8_transpose_noalloc_noop(data: Any, out: Any, noop: Any, otype: Any) -> None:
    """Do the same as :func:`fp8_transpose`, into ``out``, unless ``noop`` is set."""
    if noop.numel() == 0 or not bool(noop.reshape(-1)[0]):
        fp8_transpose_noalloc(data, out, otype)


def fused_cast_transpose(
    inp: Any,
    scale: Any,
    amax: Any,
    scale_inv: Any,
    out: Any,
    transposed: Any,
    otype: Any,
    *offsets: int,
) -> None:
    """Cast to FP8 into ``out`` and into ``transposed``."""
    data = cast_to_fp8(inp, scale, amax, scale_inv, otype, *offsets)
    out.copy_(data.view(out.shape))
    transposed.copy_(fp8_transpose(data).view(transposed.shape))


def fused_cast_transpose_noop(inp: Any, noop: Any, *args: Any) -> None:
    """Do the same as :func:`fused_cast_transpose`, unless ``noop`` is set."""
    if noop.numel() == 0 or not bool(noop.reshape(-1)[0]):
        fused_cast_transpose(inp, *args)


# The same casts as operators, called with whole tensors and an offset.


def _newest(amax: torch.Tensor) -> torch.Tensor:
    return amax[0] if amax.dim() == 2 else amax


def _slot(values: torch.Tensor, offset: Any) -> torch.Tensor:
    return values.reshape(-1)[int(offset) : int(offset) + 1]


class _Operators:
    """``torch.ops.tex_ts`` of 1.x."""

    @staticmethod
    def cast_to_fp8_ts(
        inp: Any, scale: Any, amax: Any, scale_inv: Any, offset: Any, otype: Any
    ) -> torch.Tensor:
        return cast_to_fp8(inp, scale, amax, scale_inv, otype, offset, offset, offset)

    @staticmethod
    def cast_to_fp8_noalloc_ts(
        inp: Any, scale: Any, out: Any, amax: Any, scale_inv: Any, offset: Any, otype: Any
    ) -> torch.Tensor:
        data = _Operators.cast_to_fp8_ts(inp, scale, amax, scale_inv, offset, otype)
        return out.copy_(data.view(out.shape))

    @staticmethod
    def cast_from_fp8_ts(
        inp: Any, scale_inv: Any, offset: Any, itype: Any, otype: Any
    ) -> torch.Tensor:
        return cast_from_fp8(inp, scale_inv, itype, otype, offset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing("torch.ops.tex_ts." + name)


# Quantizers of 2.x.


def _is_delayed(quantizer: Any) -> bool:
    return hasattr(quantizer, "scale") and hasattr(quantizer, "amax")


def quantize(
    tensor: Any, quantizer: Any, output: Optional[Any] = None, noop: Optional[Any] = None
) -> Any:
    """Quantize into ``output``, or into a new tensor."""
    other = quantized.kind_of(quantizer)
    if other is None and not _is_delayed(quantizer):
        raise EmulationGap("quantize() with a {}".format(type(quantizer).__name__))
    if output is None:
        output = quantizer.make_empty(tuple(tensor.shape), dtype=tensor.dtype, device=tensor.device)
    if other is not None:
        if noop is None or not bool(noop.any()):
            quantized.quantize(tensor, quantizer, output, _names[int(quantizer.dtype)])
        return output
    data = fp8.quantize(tensor, quantizer.scale, _fp8_name(quantizer.dtype))
    fp8.note_amax(tensor, quantizer.amax)
    if output._data is not None:
        output._data.copy_(data.view(output._data.shape))
    if output._transpose is not None:
        output._transpose.copy_(fp8_transpose(data).view(output._transpose.shape))
        output._transpose_invalid = False
    output._scale_inv.copy_((1.0 / quantizer.scale).reshape(output._scale_inv.shape))
    return output


def dequantize(tensor: Any, otype: Any) -> torch.Tensor:
    """Return a quantized tensor as numbers of type ``otype``."""
    if quantized.kind_of(tensor) is not None:
        dtype = getattr(tensor, "_fp8_dtype", None) or tensor._fp4_dtype
        return quantized.dequantize(tensor, _names[int(dtype)], _torch_dtype(otype))
    if not hasattr(tensor, "_fp8_dtype") or tensor._scale_inv.numel() != 1:
        raise EmulationGap("dequantize() of a {}".format(type(tensor).__name__))
    return fp8.dequantize(
        tensor._data, tensor._scale_inv, _fp8_name(tensor._fp8_dtype), _torch_dtype(otype)
    )


def create_empty_quantized_tensor(
    quantizer: Any, shape: Any, dtype: Any, device: Any, *args: Any, **kwargs: Any
) -> Any:
    """Build an uninitialised quantized tensor, as 2.16 and later ask the extension to."""
    kind = quantized.kind_of(quantizer)
    if kind not in (None, "current"):
        return quantized.create_empty(quantizer, tuple(shape), dtype, device)
    if kind is None and not _is_delayed(quantizer):
        raise EmulationGap("an empty tensor of a {}".format(type(quantizer).__name__))
    return _empty_float8(quantizer, tuple(shape), dtype, device)


def _empty_float8(quantizer: Any, shape: Tuple[int, ...], dtype: Any, device: Any) -> Any:
    from transformer_engine.pytorch.tensor.float8_tensor import Float8Tensor

    def empty(*size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.uint8, device=device)

    turned = shape[-1:] + shape[:-1]
    return Float8Tensor(
        shape=shape,
        dtype=dtype,
        data=empty(*shape) if quantizer.rowwise_usage else None,
        data_transpose=empty(*turned) if quantizer.columnwise_usage else None,
        fp8_scale_inv=torch.empty(1, dtype=torch.float32, device=device),
        fp8_dtype=quantizer.dtype,
        quantizer=quantizer,
    )


# Delayed scaling's bookkeeping at the end of a step.


def fused_amax_and_scale_update(
    history: Any,
    scale: Any,
    scale_inv: Any,
    non_weight_mask: Any,
    new_history: Any,
    new_scale: Any,
    new_scale_inv: Any,
    algorithm: str,
    dtype: Any,
    margin: int,
) -> None:
    """Up to 1.5: update one module, one direction. TE passes the same tensors as old and new."""
    if new_history is not history or new_scale is not scale or new_scale_inv is not scale_inv:
        raise EmulationGap("fused_amax_and_scale_update() into other tensors")
    inverse_before = scale_inv.clone()
    _update(history, scale, scale_inv, history[0].clone(), algorithm, dtype, margin)
    if non_weight_mask.numel():
        scale_inv.copy_(torch.where(non_weight_mask, scale_inv, inverse_before))


def fused_amax_and_scale_update_after_reduction(
    amax: Any, histories: Any, scales: Any, *rest: Any
) -> None:
    """From 1.6: update all registered modules, one direction. 1.x also passes inverses."""
    inverses = rest[0] if len(rest) == 4 else [None] * len(scales)
    algorithm, dtype, margin = rest[-3:]
    parts = amax.split([scale.numel() for scale in scales])
    for part, history, scale, inverse in zip(parts, histories, scales, inverses):
        _update(history, scale, inverse, part, algorithm, dtype, margin)


def _update(
    history: Any, scale: Any, inverse: Any, amax: Any, algorithm: str, dtype: Any, margin: int
) -> None:
    limit = torch.finfo(fp8.torch_type(_fp8_name(dtype))).max
    fp8.update_amax_and_scale(history, scale, inverse, amax, algorithm, limit, margin)


# Facts that real code asks for.


def get_cublasLt_version() -> int:
    """Return a version of cuBLASLt that has FP8 for every release."""
    return 130000


def get_cudnn_version() -> int:
    """Return a version of cuDNN that every release accepts."""
    return 92100


def device_supports_multicast(*args: Any) -> bool:
    """Return False: no device is there."""
    return False


def ubuf_built_with_mpi() -> bool:
    """Return False: it was built without MPI."""
    return False


def userbuf_comm_available() -> bool:
    """Return False: there are no user buffers."""
    return False


def get_num_cublas_streams() -> int:
    """Return the number of streams that every release has."""
    return 4


EMULATED: Dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        cast_to_fp8,
        cast_to_fp8_noalloc,
        cast_from_fp8,
        fp8_transpose,
        fp8_transpose_noalloc,
        fp8_transpose_noalloc_noop,
        fused_cast_transpose,
        fused_cast_transpose_noop,
        quantize,
        dequantize,
        create_empty_quantized_tensor,
        fused_amax_and_scale_update,
        fused_amax_and_scale_update_after_reduction,
        get_cublasLt_version,
        get_cudnn_version,
        device_supports_multicast,
        ubuf_built_with_mpi,
        userbuf_comm_available,
        get_num_cublas_streams,
    )
}
"""The functions by their names in the extension."""
