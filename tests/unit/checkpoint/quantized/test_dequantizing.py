"""Rule: a dequantized weight is, bit for bit, its data times its scales in float32, rounded once.

The reference is PyTorch's arithmetic on the tensors that a weight consists of, in the layouts
that Transformer Engine's sources describe; the tests of real releases compare with the
releases' own ``dequantize``.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from helpers import quantized
from matrix.checkpoint import nodes, objects, torch_legacy, torch_writing, torchfile
from matrix.checkpoint.added import AddedStorages
from matrix.checkpoint.copying import CHUNK, Content, Output
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.nodes import Call, Global, Persistent
from matrix.checkpoint.quantized import blocks, dequantizing, numbers, tables, vectorized, weights
from matrix.checkpoint.quantized.changes import WeightChange

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
Parts = dict[str, torch.Tensor]


@pytest.fixture(params=["NumPy", "the standard library"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NumPy, and where it is not installed."""
    if request.param != "NumPy":
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name == "numpy" else find_spec(name, *rest),
        )
        monkeypatch.setattr(vectorized, "converter", None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("table", "kind"), [(numbers.E4M3, torch.float8_e4m3fn), (numbers.E5M2, torch.float8_e5m2)]
)
def test_every_code_times_any_scale(
    table: tuple[float, ...], kind: torch.dtype, dtype: str
) -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    for scale in (1.0, 0.1, 3e-8, 1.7e-38, 1e-45, 7e37, math.pi, 2.0**-127, math.inf):
        exact = numbers.float32(scale)
        planes = tables.planes(table, exact, dtype)
        found = torch.frombuffer(
            bytearray(tables.translate(bytes(range(256)), planes)), dtype=DTYPES[dtype]
        )
        expected = (codes.view(kind).float() * torch.tensor(exact)).to(DTYPES[dtype])
        assert same(found, expected)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Bit-equal, signs of zeros included; which NaN a NaN is, devices decide."""
    numbers_ = ~(one.isnan() & other.isnan())
    width = {2: torch.int16, 4: torch.int32}[one.element_size()]
    return torch.equal(one.view(width)[numbers_], other.view(width)[numbers_])


def test_powers_of_two_are_the_bits_of_an_exponent() -> None:
    bits = (torch.arange(256, dtype=torch.int32) << 23).view(torch.float32)
    assert [numbers.power_of_two(code) for code in range(256)] == bits.tolist()


def test_codes_of_four_bits() -> None:
    positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    assert list(numbers.E2M1) == positive + [-number for number in positive]
    assert math.copysign(1, numbers.E2M1[8]) == -1


# Whole weights, of sizes that blocks do not divide, with random data.


def file_with(recipe: str, release: str, parts: Parts, **others: Any) -> torchfile.TorchFile:
    """A save of a release whose weight has other data and scales."""
    file = quantized.source(recipe, release)
    weight = quantized.weight(file)
    added = AddedStorages(file)
    values = dict(zip(weight.forms[0].arguments, weight.call.arguments, strict=True))
    for name, tensor in parts.items():
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        kind = str(tensor.dtype).removeprefix("torch.")
        values[name] = added.add(kind, tuple(tensor.shape), Content.of(raw, tensor.element_size()))
    values |= others
    weight.call.arguments = tuple(values[name] for name in weight.forms[0].arguments)
    out = io.BytesIO()
    torch_writing._write_root(file, file.root, added.storages, Output(out))
    return torchfile.of_bytes(out.getvalue())


def size(*shape: int) -> Call:
    return Call("REDUCE", Global("torch", "Size"), (shape,))


def dequantized(file: torchfile.TorchFile, dtype: str) -> torch.Tensor:
    out = io.BytesIO()
    change = WeightChange(dtype=dtype)
    torch_writing.write(file, {}, out, lambda _size: None, change)
    out.seek(0)
    # Nothing of Transformer Engine's is left, or this would fail.
    state = torch.load(out, weights_only=False)
    return state["weight"]  # type: ignore[no-any-return]


def random_bytes(*shape: int) -> torch.Tensor:
    return torch.randint(
        0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(7)
    )


def random_scales(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(8)) * 0.01


def spread(scales: torch.Tensor, block: tuple[int, int], rows: int, columns: int) -> torch.Tensor:
    return scales.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)[:rows, :columns]


def fp8(data: torch.Tensor) -> torch.Tensor:
    return data.view(torch.float8_e4m3fn).float()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("release", quantized.releases("delayed-scaling"))
def test_float8(release: str, dtype: str) -> None:
    data, scale = random_bytes(33, 70), torch.tensor([0.037])
    file = file_with(
        "delayed-scaling", release, {"data": data, "scale_inv": scale}, shape=size(33, 70)
    )
    assert same(dequantized(file, dtype), (fp8(data) * scale).to(DTYPES[dtype]))


def test_float8_in_several_chunks() -> None:
    rows = CHUNK // 1000 + 500
    data, scale = random_bytes(rows, 1000), torch.tensor([1.3e-3])
    parts = {"data": data, "scale_inv": scale}
    file = file_with("delayed-scaling", "2.4", parts, shape=size(rows, 1000))
    assert same(dequantized(file, "bfloat16"), (fp8(data) * scale).to(torch.bfloat16))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("release", quantized.releases("mxfp8"))
def test_mxfp8(release: str, dtype: str) -> None:
    data, codes = random_bytes(40, 96), random_bytes(128, 4)
    parts = {"rowwise_data": data, "rowwise_scale_inv": codes}
    file = file_with("mxfp8", release, parts, shape=size(40, 96))
    scales = (codes.int() << 23).view(torch.float32)[:, :3]
    expected = fp8(data) * spread(scales, (1, 32), 40, 96)
    assert same(dequantized(file, dtype), expected.to(DTYPES[dtype]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("release", quantized.releases("block-scaling"))
@pytest.mark.parametrize("square", [True, False])
def test_blocks(release: str, dtype: str, square: bool) -> None:
    rows, columns = 150, 260
    data = random_bytes(rows, columns)
    # Rows of scales are padded to four; those of one row of data lie in a column.
    scales = random_scales(2, 4) if square else random_scales(3, 152)
    parts = {"rowwise_data": data, "rowwise_scale_inv": scales}
    file = file_with(
        "block-scaling", release, parts, shape=size(rows, columns), is_2D_scaled=square
    )
    block, held = ((128, 128), scales) if square else ((1, 128), scales.t())
    expected = fp8(data) * spread(held, block, rows, columns)
    assert same(dequantized(file, dtype), expected.to(DTYPES[dtype]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("release", quantized.releases("nvfp4"))
def test_nvfp4(release: str, dtype: str) -> None:
    data, codes, amax = random_bytes(50, 24), random_bytes(128, 4), torch.tensor([0.83])
    parts = {"rowwise_data": data, "rowwise_scale_inv": codes, "amax_rowwise": amax}
    file = file_with("nvfp4", release, parts, shape=size(50, 48))
    table = torch.tensor(numbers.E2M1)
    values = table[torch.stack([data & 15, data >> 4], -1).long()].reshape(50, 48)
    scales = fp8(codes) * amax * torch.tensor(1.0 / (6.0 * 448.0))
    expected = values * spread(scales[:, :3], (1, 16), 50, 48)
    assert same(dequantized(file, dtype), expected.to(DTYPES[dtype]))


# Tiles: data is converted some rows, or a part of a row, at a time.

SHAPES = [(1, 700), (3, 384), (40, 384), (5, 131), (260, 2)]


@pytest.mark.parametrize("tile", [256, 1024])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_of_every_layout(
    dtype: str, shape: tuple[int, int], tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "TILE", tile)
    monkeypatch.setattr(dequantizing, "_TILES", 3)
    rows, columns = shape
    data = random_bytes(rows, columns)
    values = fp8(data)

    def found(recipe: str, parts: Parts, **others: Any) -> torch.Tensor:
        file = file_with(recipe, "2.16", parts, shape=size(*shape), **others)
        return dequantized(file, dtype)

    def expected(scales: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
        return (values * spread(scales, block, rows, columns)).to(DTYPES[dtype])

    scale = random_scales(1)
    parts = {"data": data, "scale_inv": scale}
    assert same(found("delayed-scaling", parts), (values * scale).to(DTYPES[dtype]))
    codes = random_bytes(rows + 3, -(-columns // 32) + 1)
    powers = (codes.int() << 23).view(torch.float32)[:, :-1]
    parts = {"rowwise_data": data, "rowwise_scale_inv": codes}
    assert same(found("mxfp8", parts), expected(powers, (1, 32)))
    scales = random_scales(-(-rows // 128), -(-columns // 128) + 2)
    parts = {"rowwise_data": data, "rowwise_scale_inv": scales}
    assert same(
        found("block-scaling", parts, is_2D_scaled=True), expected(scales[:, :-2], (128, 128))
    )
    scales = random_scales(-(-columns // 128), rows + 1)
    parts = {"rowwise_data": data, "rowwise_scale_inv": scales}
    assert same(
        found("block-scaling", parts, is_2D_scaled=False), expected(scales[:, :-1].t(), (1, 128))
    )


QUIET = {"bfloat16": 0x7FC0, "float16": 0x7E00, "float32": 0x7FC0_0000}
SCALES = (1.0, 0.1, -0.3, 3e-8, 1.7e-38, 1e-45, 7e37, 0.0, math.inf, math.nan)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_code_in_a_file(dtype: str) -> None:
    """With one scale, and with one for each block; NaN is quiet and positive."""
    codes = torch.arange(256, dtype=torch.uint8)
    one = [
        dequantized(
            file_with(
                "delayed-scaling",
                "2.4",
                {"data": codes.reshape(2, 128), "scale_inv": torch.tensor([scale])},
                shape=size(2, 128),
            ),
            dtype,
        ).reshape(1, 256)
        for scale in SCALES
    ]
    scales = torch.tensor(SCALES).reshape(-1, 1)
    parts = {
        "rowwise_data": codes.repeat(len(SCALES), 1),
        "rowwise_scale_inv": scales.repeat(1, 2).t(),
    }
    shape = size(len(SCALES), 256)
    many = dequantized(
        file_with("block-scaling", "2.4", parts, shape=shape, is_2D_scaled=False), dtype
    )
    expected = (fp8(codes) * scales).to(DTYPES[dtype])
    width = {2: torch.int16, 4: torch.int32}[expected.element_size()]
    for found in (torch.cat(one), many):
        assert same(found, expected)
        assert torch.equal(found.isnan(), expected.isnan())
        assert set(found.view(width)[found.isnan()].tolist()) == {QUIET[dtype]}


def test_a_weight_without_elements() -> None:
    parts = {"data": random_bytes(0, 4), "scale_inv": random_scales(1)}
    file = file_with("delayed-scaling", "2.4", parts, shape=size(0, 4))
    assert dequantized(file, "bfloat16").shape == (0, 4)


def test_scales_beyond_their_storage_are_refused() -> None:
    file = quantized.source("mxfp8", "2.4")
    scales = quantized.weight(file).tensors["rowwise_scale_inv"]
    node = next(n for n in nodes.every(file.root) if objects.tensor(n) == scales)
    assert isinstance(node, Call)
    node.arguments = (*node.arguments[:2], (1 << 20, 4), (4, 1), *node.arguments[4:])
    with pytest.raises(CheckpointError, match="shorter than its tensor"):
        dequantized(file, "bfloat16")


def test_more_than_two_dimensions() -> None:
    data, codes = random_bytes(4, 10, 64), random_bytes(128, 4)
    parts = {"rowwise_data": data, "rowwise_scale_inv": codes}
    file = file_with("mxfp8", "2.16", parts, shape=size(4, 10, 64))
    scales = spread((codes.int() << 23).view(torch.float32), (1, 32), 40, 64)
    found = dequantized(file, "float32")
    assert found.shape == (4, 10, 64)
    assert same(found.reshape(40, 64), fp8(data).reshape(40, 64) * scales)


@pytest.mark.parametrize(("recipe", "release"), quantized.saves())
def test_saves_of_releases_become_plain_tensors(recipe: str, release: str) -> None:
    file = quantized.source(recipe, release)
    found = dequantized(file, "bfloat16")
    assert type(found) is torch.Tensor
    assert found.dtype is torch.bfloat16
    assert found.shape == (64, 64)
    assert bool(found.isfinite().all())
    assert found.unique().numel() > 8
    assert not weights.search(file.root)[0]


# Data that is not understood is refused, not guessed at.


def refuse(named: str, *file: Any, **others: Any) -> None:
    with pytest.raises(CheckpointError, match=named):
        dequantized(file_with(*file, **others), "bfloat16")


def test_layouts_that_are_not_known_are_refused() -> None:
    refuse("order of a kernel", "mxfp8", "2.12", {}, with_gemm_swizzled_scales=True)
    refuse("order of a kernel", "nvfp4", "2.16", {}, with_gemm_swizzled_scales=True)
    refuse("an amax each", "nvfp4", "2.17", {}, row_scaled_nvfp4=True)
    kind = Global("transformer_engine_torch", "Float8BlockScaleTensorFormat")
    compact = Call("NEWOBJ", kind, (), state=[1])
    refuse("data_format is COMPACT", "block-scaling", "2.5", {}, data_format=compact)


def test_data_and_scales_must_have_the_size_of_the_weight() -> None:
    refuse("for a weight of", "delayed-scaling", "2.4", {"data": random_bytes(3, 3)})
    refuse("for a weight of", "mxfp8", "2.4", {"rowwise_data": random_bytes(64, 32)})
    refuse("64 need them", "mxfp8", "2.4", {"rowwise_scale_inv": random_bytes(32, 4)})
    refuse("2 need them", "mxfp8", "2.4", {"rowwise_scale_inv": random_bytes(128, 1)})
    refuse("one float32", "delayed-scaling", "2.4", {"scale_inv": random_scales(2)})


def test_a_weight_without_data_by_rows_is_refused() -> None:
    refuse("nothing but", "mxfp8", "2.4", {}, rowwise_data=None, rowwise_scale_inv=None)


def test_only_tensors_of_the_weight_are_new() -> None:
    file = quantized.source("delayed-scaling", "2.4")
    states = [value for key, value in file.root.pairs if "_extra_state" in key]
    kept: Callable[[Any], str] = quantized.text
    before = list(map(kept, states))
    dequantized(file, "float32")
    assert list(map(kept, (v for k, v in file.root.pairs if "_extra_state" in k))) == before


def legacy(recipe: str, release: str) -> torchfile.TorchFile:
    """A save in the format of torch.save before PyTorch 1.6."""
    file = quantized.source(recipe, release)
    storages = {}
    for node in nodes.every(file.root):
        if isinstance(node, Persistent) and len(node.id) == 5:
            kind, size = objects.element(node) or ("", 0)
            node.id = (*node.id, None)
            data = file.storages.read(node.id[2], 0, node.id[4] * size, 1 << 24)
            storages[node.id[2]] = kind, data
    return torchfile.of_bytes(torch_legacy.file(file.root, storages, protocol=2))


@pytest.mark.parametrize("recipe", quantized.CLASSES)
def test_files_of_the_legacy_format(recipe: str) -> None:
    release = quantized.releases(recipe)[-1]
    expected = dequantized(quantized.source(recipe, release), "bfloat16")
    assert same(dequantized(legacy(recipe, release), "bfloat16"), expected)
    out = io.BytesIO()
    target = quantized.releases(recipe)[1]
    change = WeightChange(into=target)
    torch_writing.write(legacy(recipe, release), {}, out, lambda _size: None, change)
    new = torchfile.of_bytes(out.getvalue())
    assert quantized.text(quantized.weight(new).call) == quantized.text(
        quantized.weight(quantized.source(recipe, target)).call
    )
    assert same(dequantized(new, "bfloat16"), expected)
