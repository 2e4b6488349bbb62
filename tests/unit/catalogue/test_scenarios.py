"""Rule: a scenario's digest is what it declares, and a field that is added later changes none."""

from __future__ import annotations

from matrix.catalogue import scenarios
from matrix.catalogue.scenarios import Scenario, Size, SizedScenario, Transport

SMALL = Size(hidden_size=64, attention_heads=4)


def test_the_digests_of_the_packaged_scenarios_stay_what_they_are() -> None:
    """They are part of every key: where one changes, all its evidence is measured again."""
    assert {name: sized.digest for name, sized in scenarios.load().items()} == {
        "autocast": "dd950c4ec9b5f6204d45d657f8f238a9ef8c53358a33041807bbc0db0b95b328",
        "attention-only": "3da4e61e4fe27b7091771916227e46ddf8c368042298e9605de30bdf977668ac",
        "fp8-weights": "f956fd5f7f26c07d9e3ee20b441c88de2ce09dc84464618e9da217096556c322",
    }


def test_a_default_that_is_spelled_out_changes_no_digest() -> None:
    plain = Scenario(name="plain", summary="s", size="small")
    spelled = Scenario(
        name="spelled",
        summary="another",
        size="small",
        layers=1,
        weights="high-precision",
        state="all",
        save_recipe={},
        load_recipe={},
        transport=Transport(weights_only=False, strict=True),
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
