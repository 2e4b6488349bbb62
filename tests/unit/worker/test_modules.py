"""Rule: where a module keeps FP8 metadata is found as each kind of module keeps it."""

from __future__ import annotations

import contextlib
import sys
import types
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from matrix.catalogue import features, scenarios
from matrix.catalogue.scenarios import SizedScenario


class Part(torch.nn.Module):
    """A module of TE as far as it is recognised: metadata, and what starts FP8."""

    def __init__(self, **held: Any) -> None:
        super().__init__()
        self.fp8_meta: dict[str, Any] = {}
        self.__dict__.update(held)

    def prepare_forward(self, inp: Any, num_gemms: int = 1) -> Any:
        self.asked = num_gemms
        return contextlib.nullcontext(inp)


class LayerNormMLP(Part):
    pass


class FusedAttention(Part):
    pass


class DotProductAttention(Part):
    pass


class OldDotProductAttention(torch.nn.Module):
    """Attention of 1.6 and 1.7, whose state is one level deeper."""

    def __init__(self) -> None:
        super().__init__()
        self.fused_attention = FusedAttention()


OldDotProductAttention.__name__ = "DotProductAttention"


def layer(attention: Any, name: str = "core_attention") -> Any:
    return torch.nn.ModuleDict({"qkv": Part(), name: attention, "mlp": LayerNormMLP()})


def found(worker: Any, model: Any) -> list[tuple[str, str, bool]]:
    return [(site.path, site.name, site.attention) for site in worker("model").sites(model)]


def test_attention_has_one_name_in_all_releases(worker: Any) -> None:
    new = found(worker, layer(DotProductAttention()))
    old = found(worker, layer(OldDotProductAttention()))
    assert new[1] == ("core_attention", "core_attention", True)
    assert old[1] == ("core_attention.fused_attention", "core_attention", True)
    assert [each[0] for each in new] == ["qkv", "core_attention", "mlp"]


def test_attention_is_known_by_its_class(worker: Any) -> None:
    assert found(worker, layer(DotProductAttention(), "self_attn"))[1] == (
        "self_attn",
        "self_attn",
        True,
    )
    assert not any(attends for *_rest, attends in found(worker, layer(Part())))


def test_a_bare_module_is_named_by_its_class(worker: Any) -> None:
    assert found(worker, LayerNormMLP()) == [("", "LayerNormMLP", False)]
    assert found(worker, DotProductAttention()) == [("", "DotProductAttention", True)]
    assert found(worker, OldDotProductAttention()) == [
        ("fused_attention", "DotProductAttention", True)
    ]
    (site,) = worker("model").sites(LayerNormMLP())
    assert site.key == "_extra_state"


@pytest.mark.parametrize(
    ("state", "paths"),
    [
        ("all", ["qkv", "core_attention", "mlp"]),
        ("attention", ["core_attention"]),
        ("linears", ["qkv", "mlp"]),
        ("none", []),
    ],
)
def test_the_state_tells_which_parts_step(worker: Any, state: str, paths: list[str]) -> None:
    model = layer(DotProductAttention())
    stepping = worker("model").stepping(model, {"state": state})
    assert [site.path for site in stepping] == paths


@pytest.mark.parametrize(
    ("module", "gemms"),
    [(Part(), 1), (LayerNormMLP(), 2), (Part(num_gemms=5), 5), (DotProductAttention(), 3)],
)
def test_each_module_declares_its_matrix_multiplications(
    worker: Any, module: Any, gemms: int
) -> None:
    (site,) = worker("model").sites(module)
    with worker("standin.cuda")._ServeCuda(), site.forward(16):
        pass
    assert module.asked == gemms


class Operation(torch.nn.Module):
    """An operation of 2.7 and later, and what its fuser calls."""

    def __init__(self) -> None:
        super().__init__()
        self._fp8_metas: Any = None
        self._quantizers: Any = None
        self.calls: list[Any] = []

    def num_quantizers(self, mode: str) -> int:
        return {"forward": 2, "backward": 1}.get(mode, 0)

    def reset_recipe_state(self, *, recipe: Any) -> None:
        self.calls.append(recipe)

    def pre_first_fuser_forward(self) -> None:
        self.calls.append("first")

    def pre_fuser_forward(self, *, requires_grad: bool) -> None:
        self.calls.append(requires_grad)


class OldOperation(torch.nn.Module):
    """An operation of 1.13, with three modes."""

    def __init__(self) -> None:
        super().__init__()
        self._fp8_metas: Any = None
        self.started = False

    def num_fp8_scales(self, mode: str) -> int:
        return int(mode in ("input", "param", "grad_output"))

    def pre_forward(self) -> None:
        self.started = True


class Bias(Operation):
    """An operation without slots."""

    def num_quantizers(self, mode: str) -> int:
        return 0


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose global recipe is a text."""
    for name in ("transformer_engine", "transformer_engine.pytorch"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    quantization = types.ModuleType("transformer_engine.pytorch.quantization")
    quantization.FP8GlobalStateManager = SimpleNamespace(  # type: ignore[attr-defined]
        get_fp8_recipe=lambda: "the recipe"
    )
    monkeypatch.setitem(sys.modules, quantization.__name__, quantization)


@pytest.mark.usefixtures("manager")
def test_an_operation_starts_as_its_fuser_starts_it(worker: Any) -> None:
    new, old = Operation(), OldOperation()
    for operation in (new, old):
        (site,) = worker("model").sites(operation)
        with site.forward(16):
            pass
    assert new.calls == ["the recipe", "first", True]
    assert old.started
    assert worker("model").sites(Bias()) == []


def held(value: float) -> SimpleNamespace:
    return SimpleNamespace(scale=torch.full((1,), value), amax_history=torch.ones(4, 1))


def test_an_operation_has_tensors_for_each_mode(worker: Any) -> None:
    operation = OldOperation()
    (site,) = worker("model").sites(operation)
    assert site.tensors() == {}
    operation._fp8_metas = {
        "input": {"scaling_fwd": held(2.0), "recipe": "r"},
        "param": {"scaling_fwd": held(3.0)},
        "grad_output": {"scaling_bwd": held(5.0)},
    }
    scales = {name: t.item() for name, t in site.tensors().items() if name.endswith("scale")}
    assert scales == {"input.scale": 2.0, "param.scale": 3.0, "grad_output.scale": 5.0}
    assert site.recipe() == "r"
    assert len(site.amax_slots("forward")) == 2
    payload = {"param": {"scale_fwd": 3}, "grad_output": {"scale_bwd": 5, "recipe": "saved"}}
    assert site.saved(payload, "param.scale") == 3
    assert site.saved(payload, "grad_output.scale") == 5
    assert site.saved(payload, "input.scale") is None
    assert site.saved_recipe(payload) == "saved"
    assert site.saved_recipe(None) is None


def test_quantizers_of_an_operation_are_what_kernels_are_handed(worker: Any) -> None:
    operation = Operation()
    (site,) = worker("model").sites(operation)
    holder = held(2.0)
    operation._fp8_metas = {"forward": {"scaling_fwd": holder}, "backward": None}
    slot = SimpleNamespace(scale=torch.ones(1), amax=torch.ones(1))
    operation._quantizers = {"forward": [slot], "backward": []}
    assert site.tensors()["forward.scale"].item() == 2.0
    assert site.in_use()["forward.scale"].item() == 1.0
    assert site.amax_slots("forward") == [slot.amax]


def test_every_module_of_the_catalogue_can_be_built(worker: Any) -> None:
    assert set(worker("modules.building")._ARGUMENTS) == set(features.load().modules)


def test_attention_is_renamed_where_it_stands(worker: Any) -> None:
    model = layer(DotProductAttention())
    worker("modules.building").rename_attention(model, "self_attn")
    assert list(model) == ["qkv", "self_attn", "mlp"]
    assert found(worker, model)[1] == ("self_attn", "self_attn", True)


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A release whose recipes are made of these classes."""
    module = types.ModuleType("transformer_engine.common.recipe")
    for name in ("transformer_engine", "transformer_engine.common", module.__name__):
        made = module if name == module.__name__ else types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made)
    return module


def test_a_recipe_gets_fp8_attention_where_it_is_known_and_allowed(worker: Any, kinds: Any) -> None:
    def delayed(margin: int = 0, fp8_dpa: bool = False, fp8_mha: bool = False) -> Any:
        return "delayed", margin, fp8_dpa, fp8_mha

    def old(margin: int = 0) -> Any:
        return "old", margin

    def strict(fp8_dpa: bool = False) -> Any:
        assert not fp8_dpa, "FP8 attention is not supported"
        return "strict", fp8_dpa

    make = worker("modules.recipes").make
    kinds.DelayedScaling, kinds.Float8CurrentScaling = delayed, strict
    assert make({"margin": 1}) == ("delayed", 1, True, False)
    assert make({"fp8_dpa": False}) == ("delayed", 0, False, False)
    assert make({"class": "Float8CurrentScaling"}) == ("strict", False)
    assert make({"class": "Float8CurrentScaling", "fp8_dpa": True}) == ("strict", False)
    with pytest.raises(ValueError, match="Float8CurrentScaling has no field margin"):
        make({"class": "Float8CurrentScaling", "margin": 1})
    kinds.DelayedScaling = old
    assert make({"margin": 2}) == ("old", 2)


def test_a_recipe_that_is_refused_for_another_reason_is_an_error(worker: Any, kinds: Any) -> None:
    def never(margin: int = 0) -> None:
        raise ValueError("never")

    kinds.DelayedScaling = never
    with pytest.raises(ValueError, match="never"):
        worker("modules.recipes").make({"margin": 1})


def test_the_gpu_lane_refuses_what_it_does_not_train(worker: Any) -> None:
    lanes = worker("lanes")
    plain = {
        "module": "MultiheadAttention",
        "state": "all",
        "attention": "core_attention",
        "save_recipe": {"amax_history_len": 16},
        "load_recipe": {},
        "distributed": False,
    }
    lanes.prepare({"lane": "gpu", "scenario": plain})
    for other in ({"module": "Linear"}, {"load_recipe": {"class": "X"}}, {"state": "none"}):
        (field,) = other
        with pytest.raises(lanes.NotTrained, match=f"not with this {field}; the cpu lane has it"):
            lanes.prepare({"lane": "gpu", "scenario": {**plain, **other}})


@pytest.mark.parametrize("sized", scenarios.load().values(), ids=lambda sized: sized.name)
def test_the_catalogue_says_what_the_gpu_lane_refuses(worker: Any, sized: SizedScenario) -> None:
    lanes = worker("lanes")
    refused = (
        pytest.raises(lanes.NotTrained) if sized.untrained_on_gpu else contextlib.nullcontext()
    )
    with refused:
        lanes.prepare({"lane": "gpu", "scenario": sized.request})


@pytest.mark.parametrize(("generation", "capability"), [("hopper", (9, 0)), ("blackwell", (10, 0))])
def test_the_cpu_lane_reports_the_device_that_a_scenario_names(
    worker: Any, generation: str, capability: tuple[int, int]
) -> None:
    cuda = worker("standin.cuda")
    worker("lanes").prepare({"lane": "cpu", "scenario": {"device": generation}})
    assert cuda._ANSWERS["get_device_capability"]() == capability
    properties = cuda._ANSWERS["get_device_properties"]()
    assert (properties.major, properties.minor) == capability
