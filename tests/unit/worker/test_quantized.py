"""Rule: what is quantized comes back within the step of its format, in the release's layout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

ROWS, COLUMNS = 256, 128


@pytest.fixture
def matrix() -> torch.Tensor:
    """Values over several magnitudes, so that one scale for all would lose the small ones."""
    steps = torch.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    return ((steps * 7 % 101 - 50) / 50) * torch.exp2((steps[:, :1] // COLUMNS % 8).float() - 4)


def a_quantizer(name: str, **fields: Any) -> Any:
    usage = {"rowwise_usage": True, "columnwise_usage": True, "internal": False}
    return type(name, (SimpleNamespace,), {})(**usage, **fields)


def a_tensor(name: str, shape: tuple[int, ...], **parts: Any) -> Any:
    return type(name, (SimpleNamespace,), {})(shape=shape, **parts)


def bytes_of(*shape: int) -> torch.Tensor:
    return torch.full(shape, 255, dtype=torch.uint8)


def test_mxfp8_has_a_power_of_two_for_32_values(worker: Any, matrix: torch.Tensor) -> None:
    quantized = worker("standin.quantized")
    out = a_tensor(
        "MXFP8Tensor",
        (ROWS, COLUMNS),
        _rowwise_data=bytes_of(ROWS, COLUMNS),
        _rowwise_scale_inv=bytes_of(ROWS, COLUMNS // 32),
        _columnwise_data=bytes_of(ROWS, COLUMNS),
        _columnwise_scale_inv=bytes_of(ROWS // 32, COLUMNS),
    )
    quantized.quantize(matrix, a_quantizer("MXFP8Quantizer"), out, "kFloat8E4M3")
    back = quantized.dequantize(out, "kFloat8E4M3", torch.float32)
    assert torch.allclose(back, matrix, rtol=2**-4, atol=2**-12)
    largest = matrix.reshape(ROWS, -1, 32).abs().amax(-1)
    scales = torch.exp2(out._rowwise_scale_inv.float() - 127)
    assert ((largest / scales <= 448) & (largest / scales > 224)).all()


@pytest.mark.parametrize("pow_2", [True, False])
def test_block_scaling_has_a_scale_for_128_by_128(
    worker: Any, matrix: torch.Tensor, pow_2: bool
) -> None:
    quantized = worker("standin.quantized")
    quantizer = a_quantizer(
        "Float8BlockQuantizer", block_scaling_dim=2, amax_epsilon=0.0, force_pow_2_scales=pow_2
    )
    out = a_tensor(
        "Float8BlockwiseQTensor",
        (ROWS, COLUMNS),
        _rowwise_data=bytes_of(ROWS, COLUMNS),
        _rowwise_scale_inv=torch.full((2, 4), 9.0),
        _columnwise_data=bytes_of(COLUMNS, ROWS),
        _columnwise_scale_inv=torch.full((1, 4), 9.0),
    )
    quantized.quantize(matrix, quantizer, out, "kFloat8E4M3")
    back = quantized.dequantize(out, "kFloat8E4M3", torch.float32)
    assert torch.allclose(back, matrix, rtol=2**-4, atol=2**-6)
    assert out._rowwise_scale_inv[:, 1:].eq(0).all(), "padding is cleared"
    assert torch.equal(out._columnwise_data, out._rowwise_data.t())
    held = out._rowwise_scale_inv[:, 0]
    assert bool((torch.log2(held) % 1 == 0).all()) == pow_2
    assert torch.equal(out._columnwise_scale_inv[0, :2], held)


@pytest.mark.parametrize("two", [True, False])
def test_nvfp4_has_a_scale_for_16_values_and_one_for_all(
    worker: Any, matrix: torch.Tensor, two: bool
) -> None:
    quantized = worker("standin.quantized")
    out = a_tensor(
        "NVFP4Tensor",
        (ROWS, COLUMNS),
        _rowwise_data=bytes_of(ROWS, COLUMNS // 2),
        _rowwise_scale_inv=bytes_of(ROWS, COLUMNS // 16),
        _columnwise_data=bytes_of(COLUMNS, ROWS // 2),
        _columnwise_scale_inv=bytes_of(COLUMNS, ROWS // 16),
        _amax_rowwise=torch.zeros(1),
        _amax_columnwise=torch.zeros(1),
    )
    quantizer = a_quantizer("NVFP4Quantizer", with_2d_quantization=two)
    quantized.quantize(matrix, quantizer, out, "kFloat4E2M1")
    back = quantized.dequantize(out, "kFloat4E2M1", torch.float32)
    block = (16, 16) if two else (1, 16)
    step = quantized._spread(quantized._amaxes(matrix, block), block, matrix) / 5
    assert ((back - matrix).abs() <= step).all()
    assert out._amax_rowwise.item() == out._amax_columnwise.item() == matrix.abs().max()


def test_four_bits_round_to_the_nearest_and_between_two_to_even(worker: Any) -> None:
    codes = worker("standin.quantized")._fp4
    values = torch.tensor([[0.2, 0.25, 0.3, 0.75, 1.25, 2.5, 3.5, 5.0, 5.1, 9.0, -1.0, -0.0]])
    assert codes(values).tolist() == [[0, 0, 1, 2, 2, 4, 6, 6, 7, 7, 10, 8]]


def test_current_scaling_takes_the_tensor_s_own_amax(worker: Any, matrix: torch.Tensor) -> None:
    quantized = worker("standin.quantized")
    quantizer = a_quantizer(
        "Float8CurrentScalingQuantizer", amax_epsilon=0.0, force_pow_2_scales=False
    )
    out = a_tensor(
        "Float8Tensor",
        (ROWS, COLUMNS),
        _data=bytes_of(ROWS, COLUMNS),
        _transpose=bytes_of(COLUMNS, ROWS),
        _transpose_invalid=True,
        _scale_inv=torch.zeros(1),
    )
    quantized.quantize(matrix, quantizer, out, "kFloat8E4M3")
    assert out._scale_inv.item() == pytest.approx(matrix.abs().max().item() / 448)
    assert torch.equal(out._transpose, out._data.t())
    assert not out._transpose_invalid


def test_a_type_that_is_no_fp8_is_refused_as_the_extension_refuses_it(worker: Any) -> None:
    """DType changed its numbers: what 2.3 calls E4M3 is bf16 to 2.4."""
    quantized, raising = worker("standin.quantized"), worker("raising")
    tensor = a_tensor("MXFP8Tensor", (32, 32), _rowwise_data=bytes_of(32, 32))
    with pytest.raises(RuntimeError, match="not supported for non-FP8 input") as caught:
        quantized.dequantize(tensor, "kBFloat16", torch.float32)
    assert raising.describe(caught.value)["type"] == "RuntimeError"
    assert worker("standin.gap").met() == []


@pytest.mark.parametrize(
    ("quantizer", "complaint"),
    [
        (a_quantizer("Float8BlockQuantizer", block_scaling_dim=1), "one dimension"),
        (a_quantizer("NVFP4Quantizer", with_rht=True), "with_rht"),
        (a_quantizer("SomeQuantizer"), "SomeQuantizer"),
    ],
)
def test_what_is_not_emulated_is_a_gap(worker: Any, quantizer: Any, complaint: str) -> None:
    quantized, gap = worker("standin.quantized"), worker("standin.gap")
    with pytest.raises(gap.EmulationGap, match=complaint):
        quantized.quantize(torch.ones(2, 2), quantizer, None, "kFloat8E4M3")
    with pytest.raises(gap.EmulationGap, match="dequantize"):
        quantized.dequantize(
            a_tensor("MXFP8Tensor", (1,), _rowwise_data=None), "kFloat8E4M3", torch.float32
        )
