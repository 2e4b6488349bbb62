"""Rule: a combination that a variant does not apply to is no cell."""

from collections.abc import Callable
from typing import Any

import pytest

from matrix.catalogue import releases, scenarios
from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.scenarios import Scenario, Size, SizedScenario, Transport
from matrix.errors import UsageError
from matrix.plan.cells import Plan, plan_cells
from matrix.plan.evidence_index import pairs

MakePlan = Callable[..., Plan]


def test_every_pair_is_a_cell(make_plan: MakePlan) -> None:
    cells = make_plan(["1.5", "1.7"], ["1.8", "2.18"]).cells
    assert [cell.id for cell in cells] == [
        "autocast/plain/1.5->1.8",
        "autocast/plain/1.7->1.8",
        "autocast/plain/1.5->2.18",
        "autocast/plain/1.7->2.18",
    ]


def test_remapped_applies_to_savers_1_6_and_1_7(make_plan: MakePlan) -> None:
    cells = make_plan(["1.5", "1.6", "1.7", "1.8"], ["1.11"], ("remapped",)).cells
    assert [cell.saved_by for cell in cells] == ["1.6", "1.7"]


def test_trusted_applies_to_loaders_with_an_opt_in(make_plan: MakePlan) -> None:
    cells = make_plan(["1.8"], ["2.16", "2.16.1", "2.17", "2.17.1"], ("trusted",)).cells
    assert [cell.loaded_by for cell in cells] == ["2.16.1", "2.17.1"]


def test_a_plan_without_cells_is_an_error(make_plan: MakePlan) -> None:
    with pytest.raises(UsageError, match="holds no cell.*remapped applies to none"):
        make_plan(["1.8"], ["1.11"], ("remapped",))


def test_releases_of_both_sides_oldest_first(make_plan: MakePlan) -> None:
    assert list(make_plan(["2.18", "1.7"], ["1.8"]).releases) == ["1.7", "1.8", "2.18"]


def test_the_plan_of_one_release_has_its_row_its_column_and_its_controls(
    make_plan: MakePlan,
) -> None:
    both = ["1.8", "1.11", "2.18"]
    mine = make_plan(both, both).of(["2.18"])
    assert [(cell.saved_by, cell.loaded_by) for cell in mine.cells] == [
        ("2.18", "1.8"),
        ("2.18", "1.11"),
        ("1.8", "2.18"),
        ("1.11", "2.18"),
        ("2.18", "2.18"),
    ]
    assert [release.name for release in mine.controlled] == ["2.18"]
    assert [release.name for release in mine.savers] == both


def plan_of(known: Catalogue, documentation: Documentation, *names: str, **fields: Any) -> Plan:
    scenario = Scenario(name="x", summary="s", size="small", **fields)
    sized = SizedScenario(scenario, Size(hidden_size=64, attention_heads=4))
    chosen = [known[name] for name in names]
    variants = {"plain": scenarios.variants()["plain"]}
    return plan_cells(documentation, {"x": sized}, variants, chosen, chosen)


def test_a_pair_of_which_one_lacks_the_module_is_no_cell(
    known: Catalogue, documentation: Documentation
) -> None:
    made = plan_of(known, documentation, "1.8", "1.9", "1.10", module="GroupedLinear")
    assert {(c.saved_by, c.loaded_by) for c in made.cells} == {
        (saver, loader) for saver in ("1.9", "1.10") for loader in ("1.9", "1.10")
    }
    assert [release.name for release in made.saves("x")] == ["1.9", "1.10"]
    assert [(scenario, r.name) for scenario, r in made.controls()] == [("x", "1.9"), ("x", "1.10")]


def test_the_key_mapping_applies_to_modules_with_attention() -> None:
    remapped = scenarios.variants()["remapped"]
    loader = releases.load()["1.8"]
    found = scenarios.load().items()
    names = {name for name, sized in found if remapped.applies_to(sized, loader)}
    assert {"autocast", "mha.no-state", "transformer-layer", "dot-product-attention"} <= names
    assert not {"linear", "layernorm.no-state", "ops-linear"} & names


def test_a_rewrite_applies_to_what_is_rewritten() -> None:
    rewrite = scenarios.variants()["rewrite:2.4"]
    loader, found = releases.load()["2.4"], scenarios.load().items()
    names = {name for name, sized in found if rewrite.applies_to(sized, loader)}
    assert {
        "autocast",
        "mha.no-state",
        "linear",
        "transformer-layer",
        "layernorm.no-state",
    } <= names
    assert not {"distributed", "ops-linear"} & names


def test_a_distributed_checkpoint_has_variants_of_its_own() -> None:
    loader, known = releases.load()["2.4"], scenarios.load()
    of = {
        name: {v.name for v in scenarios.variants().values() if v.applies_to(known[name], loader)}
        for name in ("autocast", "distributed")
    }
    assert of["distributed"] == {"plain", "remapped", "trusted", "whole", "rewrite:whole"}
    assert not {"whole", "rewrite:whole"} & of["autocast"]


def test_nothing_is_rewritten_for_1_5_where_attention_holds_state() -> None:
    rewrite = scenarios.variants()["rewrite:1.0"]
    loader, found = releases.load()["1.5"], scenarios.load().items()
    names = {name for name, sized in found if rewrite.applies_to(sized, loader)}
    assert {"linear", "linears-only", "mha.no-state", "rmsnorm.no-state"} <= names
    assert not {"autocast", "attention-only", "dot-product-attention", "transformer-layer"} & names


def test_quantized_weights_have_rewrites_of_their_own() -> None:
    """Where the loader holds weights of the class, in a form that it can load."""
    names = ["1.0", "1.2", "1.7", "2.0", "2.3", "2.8", "2.20.2"]
    loaders = [releases.load()[name] for name in names]
    for scenario, variant, first in (
        ("autocast", "rewrite:weights", None),
        ("fp8-weights", "rewrite:2.4", None),
        ("fp8-weights", "rewrite:weights", "1.2"),
        ("fp8-weights", "rewrite:dequantized", "1.0"),
        ("linear.fp8-weights.mxfp8", "rewrite:weights", "2.3"),
        ("linear.fp8-weights.mxfp8", "rewrite:dequantized", "1.0"),
        ("linear.fp8-weights.nvfp4", "rewrite:weights", "2.8"),
    ):
        sized, rewrite = scenarios.load()[scenario], scenarios.variants()[variant]
        able = [loader.name for loader in loaders if rewrite.applies_to(sized, loader)]
        assert able == (names[names.index(first) :] if first else []), (scenario, variant)


def test_a_loader_without_the_recipe_has_cells_and_no_controls(
    known: Catalogue, documentation: Documentation
) -> None:
    recipe = {"class": "Float8CurrentScaling"}
    both = {"save_recipe": recipe, "load_recipe": recipe}
    made = plan_of(known, documentation, "2.1", "2.2", **both)
    assert [(c.saved_by, c.loaded_by) for c in made.cells] == [("2.2", "2.1"), ("2.2", "2.2")]
    assert [release.name for _scenario, release in made.controls()] == ["2.2"]
    assert {cell.loaded_by for cell in pairs(made)} == {"2.1", "2.2"}


def test_an_unknown_key_is_no_control_of_loads_that_are_not_strict(
    known: Catalogue, documentation: Documentation
) -> None:
    strict, lax = (
        plan_of(known, documentation, "1.8", transport=Transport(strict=strict))
        for strict in (True, False)
    )
    left_out = {cell.variant for cell in pairs(strict)} - {cell.variant for cell in pairs(lax)}
    assert left_out == {"control:unknown-key"}


def test_a_selection_whose_releases_lack_the_module_is_an_error(
    known: Catalogue, documentation: Documentation
) -> None:
    with pytest.raises(UsageError, match="[Nn]o pair of its releases has what scenario x needs"):
        plan_of(known, documentation, "1.7", "1.8", module="GroupedLinear")
