"""Rule: a scenario's digest is what it declares, and a field that is added later changes none."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from matrix.catalogue import scenarios
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.scenarios import Scenario, Size, SizedScenario, Transport
from matrix.catalogue.words import DeviceGeneration

SMALL = Size(hidden_size=64, attention_heads=4)


def test_the_digests_of_the_packaged_scenarios_stay_what_they_are() -> None:
    """They are part of every key: where one changes, all its evidence is measured again."""
    faq = {
        "autocast": "dd950c4ec9b5f6204d45d657f8f238a9ef8c53358a33041807bbc0db0b95b328",
        "attention-only": "3da4e61e4fe27b7091771916227e46ddf8c368042298e9605de30bdf977668ac",
        "fp8-weights": "f956fd5f7f26c07d9e3ee20b441c88de2ce09dc84464618e9da217096556c322",
    }
    assert {name: scenarios.load()[name].digest for name in faq} == faq


def test_a_default_that_is_spelled_out_changes_no_digest() -> None:
    plain = Scenario(name="plain", summary="s", size="small")
    spelled = Scenario(
        name="spelled",
        summary="another",
        size="small",
        module="MultiheadAttention",
        layers=1,
        attention="core_attention",
        weights="high-precision",
        state="all",
        save_recipe={"class": "DelayedScaling"},
        load_recipe={},
        device=DeviceGeneration.HOPPER,
        transport=Transport(distributed=False, weights_only=False, strict=True),
    )
    other = plain.model_copy(update={"layers": 2})
    assert SizedScenario(plain, SMALL).digest == SizedScenario(spelled, SMALL).digest
    assert SizedScenario(plain, SMALL).digest != SizedScenario(other, SMALL).digest


def test_a_control_loads_under_the_recipe_of_the_save() -> None:
    scenario = Scenario(
        name="two",
        summary="s",
        size="small",
        save_recipe={"amax_history_len": 1024},
        load_recipe={"amax_history_len": 16},
    )
    sized = SizedScenario(scenario, SMALL)
    own = sized.under_own_recipe()
    assert not sized.one_recipe
    assert own.one_recipe
    assert own.request["load_recipe"] == sized.request["save_recipe"]
    assert own.name != sized.name


def a_scenario(**fields: Any) -> SizedScenario:
    return SizedScenario(Scenario(name="x", summary="s", size="small", **fields), SMALL)


def test_every_new_field_makes_another_scenario() -> None:
    changed: list[dict[str, Any]] = [
        {},
        {"module": "Linear"},
        {"attention": "self_attn"},
        {"state": "none"},
        {"save_recipe": {"class": "Float8CurrentScaling"}},
        {"load_recipe": {"class": "Float8CurrentScaling"}},
        {"device": DeviceGeneration.BLACKWELL},
        {"transport": Transport(distributed=True)},
    ]
    assert len({a_scenario(**fields).digest for fields in changed}) == len(changed)


def test_no_two_packaged_scenarios_are_the_same() -> None:
    digests = [sized.digest for sized in scenarios.load().values()]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"module": "Linaer"}, "no module Linaer.*Linear"),
        ({"save_recipe": {"class": "MXFP8"}}, "no recipe MXFP8.*MXFP8BlockScaling"),
        ({"load_recipe": {"class": "NVFP4BlockScaling"}}, 'asks for device = "blackwell"'),
        ({"module": "Linear", "state": "attention"}, "Linear computes no attention"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        a_scenario(**fields)


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({}, "1.0"),
        ({"module": "GroupedLinear"}, "1.9"),
        ({"save_recipe": {"class": "Float8CurrentScaling"}}, "2.2"),
        ({"state": "none", "save_recipe": {"class": "Float8CurrentScaling"}}, "1.0"),
        ({"module": "ops.Linear", "save_recipe": {"class": "Float8BlockScaling"}}, "2.18"),
        ({"module": "Linear", "save_recipe": {"class": "Float8BlockScaling"}}, "2.3"),
    ],
)
def test_only_what_has_module_and_recipe_saves(
    known: Catalogue, fields: dict[str, Any], first: str
) -> None:
    able = [r.name for r in known.releases if a_scenario(**fields).is_saved_by(r)]
    assert able == known.names()[known.names().index(first) :]


def test_a_recipe_that_quantizes_no_weights_saves_none(known: Catalogue) -> None:
    custom = {"class": "CustomRecipe"}
    assert a_scenario(save_recipe=custom).is_saved_by(known["2.20.2"])
    assert not a_scenario(save_recipe=custom, weights="fp8").is_saved_by(known["2.20.2"])


def test_a_loader_without_the_recipe_loads_and_is_not_stepped(known: Catalogue) -> None:
    sized = a_scenario(load_recipe={"class": "Float8CurrentScaling"})
    steps = {name: sized.is_stepped_by(known[name]) for name in ("2.1", "2.2")}
    assert steps == {"2.1": False, "2.2": True}
    assert sized.is_loaded_by(known["2.1"])


def test_the_faq_speaks_of_delayed_scaling_s_attention() -> None:
    spoken_of = {name for name, sized in scenarios.load().items() if sized.documented}
    assert {"autocast", "attention-only", "fp8-weights", "dot-product-attention"} <= spoken_of
    assert not {"linear", "mha.no-state", "linears-only", "mha.mxfp8"} & spoken_of


def test_the_documented_key_is_that_of_the_module() -> None:
    key = "core_attention._extra_state"
    assert a_scenario().attention_key(key) == key
    assert a_scenario(attention="self_attn").attention_key(key) == "self_attn._extra_state"
    assert a_scenario(module="DotProductAttention").attention_key(key) == "_extra_state"
