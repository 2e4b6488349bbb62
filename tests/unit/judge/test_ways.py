"""Rule: a load goes well if all is there that the loader has a place for, and goes on updating;
the way across is the least intrusive that was seen to."""

from __future__ import annotations

from typing import Any

import pytest

from helpers.builders import a_cell
from matrix.catalogue import releases, scenarios
from matrix.catalogue import ways as catalogued
from matrix.catalogue.words import CellStatus
from matrix.judge import endings, ways
from matrix.judge.endings import Ending
from matrix.report.cells import PartRow, ReportCell

ATTENTION, LINEAR = "core_attention", "qkv"
HELD = (ATTENTION, LINEAR)
OPT_IN = "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"


def part(name: str, outcome: str = "loaded", after_load: str = "updates") -> PartRow:
    return PartRow(
        name=name,
        attention=name == ATTENTION,
        outcome=outcome,
        resized=False,
        after_load=after_load,
    )


def cell(*parts: PartRow, **fields: Any) -> ReportCell:
    """A cell in which both parts were held, with what the judge makes of them together."""
    outcome = next((p.outcome.value for p in parts if p.attention), "loaded")
    return a_cell("2.3", "2.4", **({"outcome": outcome, "parts": parts, "held": HELD} | fields))


def status(seen: ReportCell) -> str:
    return endings.of(seen).status.value


@pytest.mark.parametrize(
    ("attention", "linear", "expected"),
    [
        (part(ATTENTION), part(LINEAR), "loads"),
        (part(ATTENTION), part(LINEAR, after_load="untested"), "loads"),
        (part(ATTENTION), part(LINEAR, after_load="frozen"), "frozen"),
        (part(ATTENTION, after_load="frozen"), part(LINEAR), "frozen"),
        (part(ATTENTION), part(LINEAR, "defaults", "untested"), "resets"),
        (part(ATTENTION, "defaults", "untested"), part(LINEAR), "resets"),
        (part(ATTENTION, "defaults", "untested"), part(LINEAR, after_load="frozen"), "resets"),
        (part(ATTENTION), part(LINEAR, "partial"), "changed"),
        (part(ATTENTION, "none", "untested"), part(LINEAR), "loads"),
    ],
)
def test_a_load_is_as_good_as_its_worst_part(
    attention: PartRow, linear: PartRow, expected: str
) -> None:
    assert status(cell(attention, linear)) == expected


def test_what_was_not_held_cannot_be_lost() -> None:
    """Attention of 1.5 and older holds nothing: in later releases it starts at defaults."""
    seen = cell(part(ATTENTION, "defaults", "untested"), part(LINEAR), held=(LINEAR,))
    assert endings.of(seen) == Ending(CellStatus.LOADS)


def test_what_starts_at_defaults_and_stays_there_is_frozen() -> None:
    seen = cell(part(ATTENTION, "defaults", "frozen"), part(LINEAR), held=(LINEAR,))
    assert status(seen) == "frozen"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"outcome": "error"}, "fails"),
        ({"outcome": "partial"}, "changed"),
        ({"weights": "changed"}, "changed"),
        ({"outcome": "infra", "verdict": "infra"}, "unknown"),
        ({"outcome": "none", "stage": "load_state_dict", "parts": ()}, "unknown"),
        ({"outcome": "none", "stage": "load_state_dict", "parts": (), "held": ()}, "loads"),
    ],
)
def test_what_is_said_of_the_whole_goes_first(fields: dict[str, Any], expected: str) -> None:
    assert status(cell(part(ATTENTION), part(LINEAR), **fields)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "loads"),
        ({"after_load": "frozen"}, "frozen"),
        ({"rest": "loaded", "rest_after_load": "frozen"}, "frozen"),
        ({"rest": "defaults"}, "resets"),
        ({"rest": "partial"}, "changed"),
        ({"outcome": "defaults", "held": HELD}, "resets"),
        ({"outcome": "defaults"}, "loads"),
    ],
)
def test_without_parts_what_they_came_to_decides(fields: dict[str, Any], expected: str) -> None:
    assert status(cell(**({"held": ()} | fields))) == expected


def test_what_has_no_place_is_given_up_and_said() -> None:
    found = endings.of(cell(part(ATTENTION, "none", "untested"), part(LINEAR)))
    assert found.attention_given_up and not found.rest_given_up
    across = ways.across({"plain": found})
    assert across is not None
    assert across.gives_up == ("the FP8 metadata of attention, for which the loader has no place",)


def test_attention_that_was_removed_by_name_is_given_up_and_not_lost() -> None:
    parts = part(ATTENTION, "defaults", "untested"), part(LINEAR)
    assert status(cell(*parts)) == "resets"
    found = endings.of(cell(*parts, variant="rewrite:without-current-attention"))
    assert found.goes_well and found.dropped
    lost = part(ATTENTION, "defaults", "untested"), part(LINEAR, "defaults", "untested")
    assert status(cell(*lost, variant="rewrite:without-current-attention")) == "resets"
    across = ways.across({"rewrite:without-current-attention": found})
    assert across is not None and across.drop == ("attention",)
    assert across.gives_up == ("the FP8 metadata of attention, which starts at defaults",)


@pytest.mark.parametrize(("held", "expected"), [((ATTENTION,), "loads"), (HELD, "unknown")])
def test_where_no_step_is_run_only_what_was_removed_is_known(
    held: tuple[str, ...], expected: str
) -> None:
    fields = {"outcome": "none", "stage": "load_state_dict", "held": held}
    found = endings.of(cell(variant="rewrite:without-current-attention", **fields))
    assert (found.status.value, found.lacks_recipe) == (expected, True)


WELL, FAILED = Ending(CellStatus.LOADS), Ending(CellStatus.FAILS)


@pytest.mark.parametrize(
    ("well", "expected"),
    [
        (("plain", "trusted", "rewrite:2.4"), "plain"),
        (("trusted", "rewrite:2.4"), "trusted"),
        (("rewrite:dequantized", "rewrite:weights"), "rewrite:weights"),
        (("rewrite:plain-model", "rewrite:dequantized-twice"), "rewrite:dequantized-twice"),
        (("rewrite:without-attention", "rewrite:dequantized"), "rewrite:without-attention"),
        ((), None),
    ],
)
def test_the_least_intrusive_way_is_taken(well: tuple[str, ...], expected: str | None) -> None:
    endings = {name: WELL if name in well else FAILED for name in scenarios.variants()}
    across = ways.across(endings)
    assert (across and across.variant.name) == expected


def test_each_variant_belongs_to_a_way() -> None:
    for name in scenarios.variants():
        across = ways.across({name: WELL})
        assert across is not None and across.way == catalogued.of_variant(name)


@pytest.mark.parametrize(
    ("variant", "loader", "step"),
    [
        ("plain", "2.4", ""),
        ("trusted", "2.18", f"set {OPT_IN}=1 for the load, if you trust the file"),
        ("rewrite:1.8", "1.11", "run te-matrix remap IN OUT --to 1.11"),
        (
            "rewrite:2.4",
            "2.18",
            "run te-matrix remap IN OUT --to 2.18, then "
            f"set {OPT_IN}=1 for the load, if you trust the file",
        ),
        (
            "rewrite:dequantized-twice",
            "1.0",
            "run te-matrix remap IN OUT --to 1.0 --dequantize bf16, then "
            "call load_state_dict twice",
        ),
        (
            "rewrite:plain-model",
            "1.0",
            "run te-matrix remap IN OUT --to 1.0 --dequantize bf16, then "
            "load it into a model built without quantized weights",
        ),
    ],
)
def test_a_step_is_what_the_variant_does(variant: str, loader: str, step: str) -> None:
    across = ways.across({variant: WELL})
    assert across is not None
    assert across.step(loader, releases.load()[loader].opt_in) == step


def test_a_name_is_given_up_where_there_is_something_to_give_up() -> None:
    """Weights are rewritten for 1.5 by the same variant, whether or not attention holds state."""
    command = "run te-matrix remap IN OUT --to 1.5"
    given_up = Ending(CellStatus.LOADS, attention_given_up=True)
    for found, step in ((WELL, command), (given_up, f"{command} --drop-fp8-state attention")):
        across = ways.across({"rewrite:weights": found})
        assert across is not None and across.step("1.5", None) == step
