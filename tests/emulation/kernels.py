"""Kernels of FP8 training, computed by PyTorch on the CPU, for tests of the gpu lane's own code.

They let a release's real modules train and attend where there is no GPU: quantized operands
are read back, multiplied in single precision and quantized again. What comes out shows that
the harness drives a release as it should; it is no evidence of the release.
"""

from __future__ import annotations

import functools
import math
import sys
from types import ModuleType
from typing import Any

import torch


def install(extension: ModuleType, version: tuple[int, int]) -> None:
    """Give the stand-in for the compiled extension the kernels that it lacks.

    :param version: (major, minor) of the release.
    """
    # Softmax statistics and a seed are handed to the backward pass; the kernels here use neither.
    handed_on = 2 if version >= (2, 20) else 3
    extension.fused_attn_fwd = functools.partial(fused_attn_fwd, handed_on)
    for kernel in (fused_attn_bwd, generic_gemm, bgrad_quantize):
        setattr(extension, kernel.__name__, kernel)
    backend = extension.NVTE_Fused_Attn_Backend.NVTE_FP8
    # From 2.20 on a reason for a refusal comes with it.
    answer = (backend, "") if version >= (2, 20) else backend
    extension.get_fused_attn_backend = lambda *args, **options: answer
    if version >= (2, 19):  # where the enumeration is also used as a class
        module = sys.modules["transformer_engine.pytorch.cpp_extensions.fused_attn"]
        module.NVTE_Fused_Attn_Backend = type("NVTE_Fused_Attn_Backend", (), {})


def _value(operand: Any) -> torch.Tensor:
    """Return an operand in single precision, quantized or not."""
    if not hasattr(operand, "_fp8_dtype"):
        return operand.detach().float()
    if operand._data is not None:
        return _read(operand._data, operand)
    turned = _read(operand._transpose, operand)
    return turned.movedim(0, -1)


def _read(data: torch.Tensor, operand: Any) -> torch.Tensor:
    e5m2 = operand._fp8_dtype.name == "kFloat8E5M2"
    numbers = data.view(torch.float8_e5m2 if e5m2 else torch.float8_e4m3fn)
    return numbers.float() * operand._scale_inv


def _sorted(args: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """Return the quantized operands among a kernel's arguments, and the quantizers."""
    own = [arg for arg in args if type(arg).__module__.startswith("transformer_engine.")]
    operands = [arg for arg in own if hasattr(arg, "_fp8_dtype")]
    return operands, [arg for arg in own if hasattr(arg, "amax") and hasattr(arg, "scale")]


def _laid_out_as(query: Any, key: Any, parts: list[torch.Tensor], quantizer: Any) -> list[Any]:
    """Quantize gradients into one block of memory where query, key and value came in one."""
    apart = key._data.data_ptr() - query._data.data_ptr()
    *_rest, heads, width = parts[0].shape
    if apart not in (width, heads * width):
        return [_bf16(quantizer, part) for part in parts]
    axis = -2 if apart == width else -3
    block = _bf16(quantizer, torch.stack(parts, axis))
    return [_part(block, part) for part in block._data.unbind(axis)]


def _part(block: Any, data: torch.Tensor) -> Any:
    return type(block)(
        shape=data.shape,
        dtype=block.dtype,
        data=data,
        fp8_scale_inv=block._scale_inv,
        fp8_dtype=block._fp8_dtype,
        quantizer=None,
    )


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention over (sequence, batch, head, width): the softmax and the output."""
    scores = torch.einsum("sbhd,tbhd->bhst", q, k) / math.sqrt(q.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    softmax = scores.masked_fill(later, -torch.inf).softmax(-1)
    return softmax, torch.einsum("bhst,tbhd->sbhd", softmax, v)


def _bf16(quantizer: Any, value: torch.Tensor) -> Any:
    return quantizer(value.to(torch.bfloat16).contiguous())


def fused_attn_fwd(handed_on: int, *args: Any, **options: Any) -> list[Any]:
    """Return the output, and as many tensors as the backward pass is handed."""
    operands, (s_quantizer, o_quantizer) = _sorted((*args, *options.values()))
    softmax, out = _attend(*map(_value, operands))
    _bf16(s_quantizer, softmax)
    return [_bf16(o_quantizer, out), *[torch.zeros(1)] * handed_on]


def fused_attn_bwd(*args: Any, **options: Any) -> list[Any]:
    """Return the gradients of query, key and value."""
    operands, (_s_quantizer, dp_quantizer, dqkv_quantizer) = _sorted((*args, *options.values()))
    query, key, value, _out, d_out = operands
    inputs = [_value(part).requires_grad_() for part in (query, key, value)]
    with torch.enable_grad():
        softmax, out = _attend(*inputs)
        *grads, d_softmax = torch.autograd.grad(out, [*inputs, softmax], _value(d_out))
    _bf16(dp_quantizer, d_softmax)
    return _laid_out_as(query, key, grads, dqkv_quantizer)


def generic_gemm(*args: Any, **_options: Any) -> list[Any]:
    """Return the product as cuBLAS sees it, column by column: ``b`` times ``a``."""
    a, turn_a, b, turn_b, out, quantizer, _dtype, bias, *_rest = args
    left, right = _value(b), _value(a)
    left = left.reshape(-1, left.shape[-1])
    right = right.reshape(-1, right.shape[-1])
    product = (left.t() if turn_b else left) @ (right.t() if turn_a else right)
    if bias is not None and not turn_b and turn_a:
        product = product + bias.float()
    if not turn_b:
        product = product.reshape(*_value(b).shape[:-1], product.shape[-1])
    result = product.to(torch.bfloat16)
    if out is not None:
        out.copy_(result)
        result = out
    return [result if quantizer is None else quantizer(result), None, None, None]


def bgrad_quantize(grad: torch.Tensor, quantizer: Any) -> tuple[torch.Tensor, Any]:
    """Return the gradient of a bias, and the gradient that it was summed from, quantized."""
    rows = grad.reshape(-1, grad.shape[-1])
    return rows.float().sum(0).to(grad.dtype), quantizer(grad)
