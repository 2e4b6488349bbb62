"""Rule: the table has every pair once, with a way that was seen or the reason why there is none."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from helpers.builders import TODAY, a_cell
from matrix import report
from matrix.catalogue import ranges, releases
from matrix.catalogue.selection import Selection
from matrix.cli import main
from matrix.report import markdown, page, ways, ways_page
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.report.ways import WayRow
from matrix.workflow.selecting import Request, select

ORDER = releases.order(())
OPT_INS = {name: releases.load()[name].opt_in for name in ORDER}
SCENARIOS = ("autocast", "history-16-to-1024", "history-16")


def table(*cells: ReportCell) -> tuple[WayRow, ...]:
    return ways.table(ways.of_pairs(cells), SCENARIOS, OPT_INS, ORDER)


def where(row: WayRow) -> list[str]:
    return [f"{one.saved_by} -> {one.loaded_by}" for one in row.where]


def test_pairs_with_the_same_way_are_one_row() -> None:
    cells = [a_cell(saver, loader) for saver in ("2.4", "2.5", "2.7") for loader in ("2.4", "2.5")]
    (row,) = table(*cells)
    assert (row.way, row.variant, row.step, row.pairs) == ("none needed", "plain", "", 6)
    assert where(row) == ["2.4-2.5, 2.7 -> 2.4-2.5"]


def test_ways_are_in_order_and_scenarios_as_given() -> None:
    rows = table(
        a_cell("1.7", "1.11", "error", scenario="history-16"),
        a_cell("1.7", "1.11", scenario="history-16", variant="rewrite:1.8"),
        a_cell("2.4", "2.5", scenario="history-16"),
        a_cell("2.4", "2.5"),
    )
    assert [(row.scenario, row.way) for row in rows] == [
        ("autocast", "none needed"),
        ("history-16", "none needed"),
        ("history-16", "rewrite"),
    ]
    assert rows[2].step == "run te-matrix remap IN OUT --to RELEASE"


def test_what_loads_under_its_own_recipe_has_that_way() -> None:
    cells = [a_cell("2.4", "2.5", "error", scenario="history-16-to-1024")]
    assert table(*cells)[0].way == ways.NO_WAY
    own, _kept = table(*cells, a_cell("2.4", "2.5", scenario="history-16"))
    assert (own.scenario, own.way) == ("history-16-to-1024", "own recipe")
    assert own.step == "train on under the recipe that it was saved with"
    assert own.gives_up == ("the change of recipe",)


ERROR = "KeyError at load_state_dict: 'recipe'"


@pytest.mark.parametrize(
    ("plain", "other", "reason"),
    [
        ({}, None, f"nothing else was tried: {ERROR}"),
        ({}, {"outcome": "error"}, f"nothing that was tried goes well: {ERROR}"),
        (
            {},
            {"outcome": "defaults", "held": ("core_attention",)},
            "nothing that was tried goes well: defaults",
        ),
        (
            {},
            {"outcome": "not-run", "verdict": "not-run"},
            "not measured: rewrite:2.4",
        ),
        ({"save": "error", "stage": "save"}, None, "the saver cannot save it: KeyError at save"),
        ({"controls": ("own",)}, None, f"the loader does not load its own save either: {ERROR}"),
        (
            {"outcome": "none", "stage": "load_state_dict", "held": ("core_attention",)},
            None,
            "the loader lacks the recipe to load with",
        ),
        ({"outcome": "infra", "verdict": "infra"}, None, "there is no outcome (infra)"),
    ],
)
def test_a_pair_without_a_way_has_its_reason(
    plain: dict[str, Any], other: dict[str, Any] | None, reason: str
) -> None:
    cells = [a_cell("2.3", "2.4", **({"outcome": "error"} | plain))]
    if other is not None:
        cells.append(a_cell("2.3", "2.4", variant="rewrite:2.4", **other))
    (row,) = table(*cells)
    assert (row.way, row.variant) == (ways.NO_WAY, "")
    assert row.reason.startswith(reason)


def test_candidates_are_not_in_it() -> None:
    assert table(a_cell("2.4", "2.5@0123abcd")) == ()


@pytest.fixture(scope="module")
def observed() -> Report:
    """The report on some releases, in all scenarios and variants, from the recorded evidence."""
    chosen = Selection(releases="1.5,1.7,1.14,2.3,2.17.1", scenario="all", variant="all")
    selected = select(Request(chosen))
    return report.build(selected.judge(TODAY), selected.documentation)


def test_it_has_every_pair_once(observed: Report) -> None:
    planned = {(cell.scenario, cell.saved_by, cell.loaded_by) for cell in observed.cells}
    names = [row.name for row in observed.releases]
    found = [
        (row.scenario, saver, loader)
        for row in observed.ways
        for one in row.where
        for saver in filter(ranges.covers(one.saved_by), names)
        for loader in filter(ranges.covers(one.loaded_by), names)
    ]
    assert len(found) == len(set(found))
    assert set(found) == planned
    assert sum(row.pairs for row in observed.ways) == len(planned)
    for row in observed.ways:
        assert bool(row.reason) == (row.way == ways.NO_WAY)


def test_each_way_is_that_of_a_cell_that_was_seen(observed: Report) -> None:
    cells = {cell.id: cell for cell in observed.cells}
    kept = {"history-16-to-1024": "history-16", "current-to-delayed": "mha.current-scaling"}
    names = [row.name for row in observed.releases]
    for row in observed.ways:
        if row.way == ways.NO_WAY:
            continue
        scenario = row.scenario
        if row.way == "own recipe":
            scenario = kept.get(scenario, "autocast")
        for one in row.where:
            for saver in filter(ranges.covers(one.saved_by), names):
                for loader in filter(ranges.covers(one.loaded_by), names):
                    cell = cells[f"{scenario}/{row.variant}/{saver}->{loader}"]
                    assert cell.outcome.value in ("loaded", "defaults", "none")
                    assert cell.error_type is None
                    frozen = "frozen" in (cell.after_load.value, cell.rest_after_load.value)
                    assert not frozen and cell.weights and cell.weights.value == "equal"


def test_the_report_s_files_have_its_counts(observed: Report) -> None:
    lines = {line.scenario: line for line in ways.lines(observed.ways)}
    assert lines["autocast"].pairs == 25
    assert lines["fp8-weights"].across == 25
    text = ways_page.page(observed.ways)
    for line in lines.values():
        assert f"| {line.scenario} | {line.across} of {line.pairs} |" in text
    assert "`te-matrix remap IN OUT --to RELEASE --drop-fp8-state attention`" in text
    short = markdown.text(observed, ORDER)
    assert "## Ways across" in short and "| fp8-weights | 25 of 25 |" in short


def test_the_page_counts_them_too() -> None:
    chosen = Selection(releases="1.7,2.3", scenario="autocast", variant="all")
    selected = select(Request(chosen))
    judgement = selected.judge(TODAY)
    made = report.build(judgement, selected.documentation)
    text = page.render(judgement, made, chosen)
    assert 'id="h-ways"' in text and "4 of 4" in text
    one = Selection(releases="1.7,2.3", scenario="autocast", variant="plain")
    judgement = select(Request(one)).judge(TODAY)
    assert 'id="h-ways"' not in page.render(
        judgement, report.build(judgement, selected.documentation), one
    )


def test_one_file_is_written_at_a_time() -> None:
    refused = CliRunner().invoke(main, ["export", "x.md", "--ways", "--compat"])
    assert refused.exit_code == 2 and "two files" in refused.output
