"""Rule: a combination that a variant does not apply to is no cell."""

from collections.abc import Callable

import pytest

from matrix.errors import UsageError
from matrix.plan.cells import Plan

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
