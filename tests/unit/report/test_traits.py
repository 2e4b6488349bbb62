"""Rule: scenarios are told apart by what they are, and no two packaged ones are alike."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from helpers.builders import a_scenario
from matrix.catalogue import scenarios
from matrix.report import traits
from matrix.report.builder import scenario_row
from matrix.report.document import RecipeRow, TransportRow

DELAYED = RecipeRow(name="DelayedScaling", fields={})


def told(**more: Any) -> traits.Traits:
    """What tells a scenario from others that is like autocast but for some fields."""
    return traits.of(a_scenario("mine").model_copy(update=more))


def test_no_two_packaged_scenarios_are_alike() -> None:
    found = [traits.of(scenario_row(one)) for one in scenarios.load().values()]
    counted = Counter((one.module, one.recipe, one.checkpoint) for one in found)
    assert [one for one, count in counted.items() if count > 1] == []


@pytest.mark.parametrize(
    ("more", "recipe", "checkpoint"),
    [
        ({}, "DelayedScaling", "FP8 state in all parts"),
        ({"state": "none"}, "no recipe", "no FP8 state"),
        (
            {"state": "none", "weights": "fp8"},
            "DelayedScaling",
            "no FP8 state, quantized weights",
        ),
        (
            {"load_recipe": RecipeRow(name="MXFP8BlockScaling", fields={})},
            "DelayedScaling → MXFP8BlockScaling",
            "FP8 state in all parts",
        ),
        (
            {
                "save_recipe": RecipeRow(name="DelayedScaling", fields={"amax_history_len": 16}),
                "load_recipe": DELAYED,
            },
            "DelayedScaling",
            "FP8 state in all parts, amax_history_len=16 → default",
        ),
        (
            {"layers": 2, "attention": "self_attn"},
            "DelayedScaling",
            "FP8 state in all parts, 2 layers, attention called self_attn",
        ),
        (
            {"transport": TransportRow(distributed=True, weights_only=True, strict=False)},
            "DelayedScaling",
            "FP8 state in all parts, distributed checkpoint, weights_only=True, strict=False",
        ),
        # What a newer version of te-matrix knows besides is shown as its report has it.
        ({"state": "norms"}, "DelayedScaling", "norms"),
    ],
)
def test_in_words(more: dict[str, Any], recipe: str, checkpoint: str) -> None:
    found = told(**more)
    assert (found.scenario, found.module) == ("mine", "MultiheadAttention")
    assert (found.recipe, found.checkpoint) == (recipe, checkpoint)
