"""Rule: the stand-in does what the compiled extension does, or says that it does not."""

from __future__ import annotations

import pickle
import sys
import types
from typing import Any

import pytest
import torch

BYTES = 0x38, 0xB8
"""1 and -1 as E4M3."""


@pytest.fixture
def tex(extension: Any) -> Any:
    return extension("1.13")


@pytest.fixture
def gap(worker: Any) -> Any:
    return worker("standin.gap")


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def data(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


def test_a_dtype_names_itself(tex: Any) -> None:
    kind = tex.DType.kFloat8E4M3
    assert (kind.name, kind.value, str(kind)) == ("kFloat8E4M3", int(kind), "DType.kFloat8E4M3")
    assert repr(kind) == f"<DType.kFloat8E4M3: {int(kind)}>"
    assert tex.DType(99).name == "???"
    assert kind == tex.DType(int(kind)) and kind != int(kind)


def test_a_cast_notes_amax_and_inverse(tex: Any) -> None:
    amax, inverse, out = numbers(0.25), numbers(0.0), data(0, 0)
    tex.cast_to_fp8_noalloc(
        numbers(0.5, -0.5), numbers(2.0), out, amax, inverse, tex.DType.kFloat8E4M3
    )
    assert tuple(out.tolist()) == BYTES
    assert (amax.item(), inverse.item()) == (0.5, 0.5)
    back = tex.cast_from_fp8(out, inverse, tex.DType.kFloat8E4M3, tex.DType.kFloat32)
    assert back.tolist() == [0.5, -0.5]


def test_the_operators_take_whole_tensors_and_an_offset(tex: Any) -> None:
    tools = torch.ops.tex_ts
    scales, inverses = numbers(9.0, 2.0), numbers(0.0, 0.0)
    history, out = torch.zeros(3, 2), data(0, 0)
    kind = tex.DType.kFloat8E4M3
    tools.cast_to_fp8_noalloc_ts(numbers(0.5, -0.5), scales, out, history, inverses, 1, kind)
    assert tuple(out.tolist()) == BYTES
    assert history.tolist() == [[0.0, 0.5], [0.0, 0.0], [0.0, 0.0]]
    assert inverses.tolist() == [0.0, 0.5]
    back = tools.cast_from_fp8_ts(out, inverses, 1, kind, tex.DType.kFloat32)
    assert back.tolist() == [0.5, -0.5]
    with pytest.raises(AttributeError):
        _ = tools.__nothing__


def test_an_operator_that_is_not_emulated_is_a_gap(tex: Any, gap: Any) -> None:
    with pytest.raises(gap.EmulationGap, match="tex_ts.te_gemm_ts"):
        torch.ops.tex_ts.te_gemm_ts(1)
    assert repr(torch.ops.tex_ts.te_gemm_ts) == "<not emulated: torch.ops.tex_ts.te_gemm_ts>"


@pytest.mark.parametrize(("noop", "done"), [((), True), ((0.0,), True), ((1.0,), False)])
def test_nothing_is_done_where_noop_says_so(tex: Any, noop: Any, done: bool) -> None:
    before, turned = torch.arange(6, dtype=torch.uint8).reshape(2, 3), data(*range(6))
    flag = torch.tensor(noop)
    out = torch.zeros(3, 2, dtype=torch.uint8)
    tex.fp8_transpose_noalloc_noop(before, out, flag, tex.DType.kFloat8E4M3)
    assert (out.tolist() == before.t().tolist()) == done
    amax, inverse, out = numbers(0.0), numbers(0.0), data(0, 0).reshape(1, 2)
    turned = data(0, 0).reshape(2, 1)
    arguments = (numbers(2.0), amax, inverse, out, turned, tex.DType.kFloat8E4M3)
    tex.fused_cast_transpose_noop(numbers(0.5, -0.5).reshape(1, 2), flag, *arguments)
    assert (tuple(turned.flatten().tolist()) == BYTES) == done
    assert (amax.item() == 0.5) == done


def test_a_cast_to_what_is_no_number_is_a_gap(tex: Any, gap: Any) -> None:
    with pytest.raises(gap.EmulationGap, match="a cast to kByte"):
        tex.cast_from_fp8(data(0), numbers(1.0), tex.DType.kFloat8E4M3, tex.DType.kByte)


def test_other_quantizers_are_not_emulated(extension: Any, gap: Any) -> None:
    tex = extension("2.20.2")
    for call in (
        lambda: tex.quantize(numbers(1.0), object()),
        lambda: tex.dequantize(object(), tex.DType.kFloat32),
        lambda: tex.create_empty_quantized_tensor(object(), (1,), torch.float32, "cpu", False),
    ):
        with pytest.raises(gap.EmulationGap, match="object"):
            call()


@pytest.mark.parametrize(("rows", "columns"), [(True, True), (True, False), (False, True)])
def test_a_quantizer_fills_what_its_tensor_has(extension: Any, rows: bool, columns: bool) -> None:
    tex = extension("2.4")
    kind = tex.DType.kFloat8E4M3
    quantizer = types.SimpleNamespace(scale=numbers(2.0), amax=numbers(0.0), dtype=kind)
    out = types.SimpleNamespace(
        _data=data(0, 0).reshape(1, 2) if rows else None,
        _transpose=data(0, 0).reshape(2, 1) if columns else None,
        _transpose_invalid=True,
        _scale_inv=numbers(0.0),
        _fp8_dtype=kind,
    )
    assert tex.quantize(numbers(0.5, -0.5).reshape(1, 2), quantizer, out) is out
    filled = [part for part in (out._data, out._transpose) if part is not None]
    assert all(tuple(part.flatten().tolist()) == BYTES for part in filled)
    assert (quantizer.amax.item(), out._scale_inv.item()) == (0.5, 0.5)
    assert out._transpose_invalid is not columns
    if rows:
        assert tex.dequantize(out, tex.DType.kFloat32).tolist() == [[0.5, -0.5]]


@pytest.mark.parametrize("masked", [False, True])
def test_up_to_1_5_a_module_updates_its_own(extension: Any, gap: Any, masked: bool) -> None:
    tex = extension("1.5")
    history, scale, inverse = torch.tensor([[2.0, 4.0]]), numbers(1.0, 1.0), numbers(1.0, 1.0)
    mask = torch.tensor([True, False]) if masked else torch.tensor([])
    arguments = (history, scale, inverse, mask, history, scale, inverse)
    tex.fused_amax_and_scale_update(*arguments, "max", tex.DType.kFloat8E4M3, 0)
    assert scale.tolist() == [224.0, 112.0]
    assert inverse[0].item() == pytest.approx(1 / 224)
    assert (inverse[1].item() == 1.0) == masked
    with pytest.raises(gap.EmulationGap, match="into other tensors"):
        elsewhere = (history, scale, inverse, mask, history.clone(), scale, inverse)
        tex.fused_amax_and_scale_update(*elsewhere, "max", tex.DType.kFloat8E4M3, 0)


def test_what_is_not_emulated_gets_into_no_checkpoint(gap: Any) -> None:
    with pytest.raises(gap.EmulationGap, match=r"tex\.SomeFormat\.A in a checkpoint"):
        pickle.dumps(gap.Missing("tex.SomeFormat").A)


def test_the_format_of_blocks_is_there_from_2_5_on(extension: Any) -> None:
    assert not hasattr(extension("2.4"), "Float8BlockScaleTensorFormat")
    formats = extension("2.5").Float8BlockScaleTensorFormat
    assert [int(formats.GEMM_READY), int(formats.COMPACT)] == [0, 1]


def test_the_facts_that_releases_ask_for(extension: Any) -> None:
    tex = extension("1.13")
    assert tex.get_cublasLt_version() >= 120000
    assert tex.get_cudnn_version() >= 90201
    assert not tex.device_supports_multicast(0)
    assert not tex.ubuf_built_with_mpi()
    assert not extension("1.0").userbuf_comm_available()
    assert extension("2.4")._num_cublas_streams == extension("2.20.2").get_num_cublas_streams()


def test_what_a_state_dict_may_hold_is_told_apart(worker: Any) -> None:
    digest = worker("digest")
    assert digest.payload_kind({}) == "dict"
    seen = {digest.of_state({"x": value}) for value in (1, 1.0, "1", b"1", None, (1,), {1}, {1: 2})}
    assert len(seen) == 8
    assert digest.of_state({"x": len}) != digest.of_state({"x": max})
    assert digest.of_state({"x": dict.fromkeys}) != digest.of_state({"x": int.from_bytes})


def test_a_release_without_its_state_manager_is_named(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, global_state = worker("model"), worker("modules.global_state")
    for name in ("transformer_engine", "transformer_engine.pytorch"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    with pytest.raises(ImportError, match="no FP8GlobalStateManager"):
        global_state.find()
    manager = types.ModuleType("transformer_engine.pytorch.fp8")
    manager.FP8GlobalStateManager = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformer_engine.pytorch.fp8", manager)
    why = "FP8GlobalStateManager.reduce_and_update_fp8_tensors does not exist"
    assert model.finish_backward() == why


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({}, "core_attention._extra_state is not saved"),
        ({"scale_fwd": numbers(3.0)}, "scale is not what forward.scale was saved with"),
        ({"scale_bwd": numbers(2.0)}, "scale is not what forward.scale was saved with"),
    ],
)
def test_a_save_that_left_something_out_is_spoilt(
    worker: Any, state: dict[str, Any], complaint: str
) -> None:
    saving = worker("saving")
    held = {"scaling_fwd": types.SimpleNamespace(scale=numbers(2.0))}
    module = types.SimpleNamespace(fp8_meta=held)
    site = worker("modules.sites").Site("core_attention", "core_attention", module, True)
    raw = torch.frombuffer(bytearray(pickle.dumps(state)), dtype=torch.uint8)
    saved = {"core_attention._extra_state": raw} if state else {}
    assert complaint in "; ".join(saving._unlike_metadata([site], saved))
