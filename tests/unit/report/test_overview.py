"""Rule: what is said in short adds up to the whole, and equal tables are shown once."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.table import Table

from helpers.builders import a_cell, a_report
from matrix.catalogue import releases
from matrix.report import console, markdown, overview, printout
from matrix.report.document import BandRow, Bands, Report
from matrix.report.places import places, together

ORDER = releases.order([])
NAMES = ("autocast", "linear", "history-16")


def a_table(scenario: str, variant: str, documented: str = "loaded", cells: int = 4) -> Bands:
    row = BandRow(
        loaded_by=">=1.12",
        saved_by=">=1.12",
        documented=documented,
        observed={"loaded": cells},
        deviating=0,
    )
    return Bands(scenario=scenario, variant=variant, bands=(">=1.12",), rows=(row,))


def test_cells_are_counted_by_outcome() -> None:
    cells = [
        a_cell("2.4", "2.5"),
        a_cell("2.4", "2.6", after_load="frozen", verdict="deviates"),
        a_cell("2.4", "2.7", "error", verdict="known-deviation"),
        a_cell("2.4", "2.8", "not-run", verdict="not-run", stage=None),
        a_cell("2.4", "2.9", variant="trusted"),
        a_cell("2.4", "2.9", "error", scenario="linear"),
    ]
    found = overview.of(a_report(*cells))
    first, second = found.lines
    assert (found.variant, found.words) == ("plain", ("loaded", "frozen", "error", "no outcome"))
    assert first.counts == {"loaded": 1, "frozen": 1, "error": 1, "no outcome": 1}
    assert overview.of(a_report(cells[4])).variant == "trusted"
    assert (first.deviating, second.traits.scenario, second.counts) == (2, "linear", {"error": 1})


def test_equal_tables_are_one_and_the_documented_come_first() -> None:
    tables = (
        a_table("linear", "plain", "undocumented"),
        a_table("linear", "trusted", "undocumented"),
        a_table("autocast", "plain"),
        a_table("history-16", "plain", cells=3),
    )
    found = overview.tables(a_report(a_cell("2.4", "2.5"), bands=tables))
    assert [(table.scenario, same) for table, same in found] == [
        ("autocast", ""),
        ("history-16", ""),
        ("linear", "linear/trusted"),
    ]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ([("autocast", "plain")], "autocast/plain"),
        ([("a", "plain"), ("b", "plain")], "a, b / plain"),
        ([("a", "plain"), ("a", "trusted")], "a / plain, trusted"),
        ([("a", "plain"), ("b", "plain"), ("a", "trusted")], "a / plain, trusted; b/plain"),
    ],
)
def test_scenarios_with_the_same_variants_stand_together(
    where: list[tuple[str, str]], text: str
) -> None:
    assert together(where) == text


def test_pairs_that_are_the_same_in_many_scenarios_are_said_once() -> None:
    cells = [a_cell("2.4", "2.5", scenario=name) for name in NAMES]
    cells.append(a_cell("2.4", "2.6", scenario="linear"))
    assert places(cells, ORDER) == [
        "autocast, history-16 / plain: 2.4 -> 2.5",
        "linear/plain: 2.4 -> 2.5-2.6",
    ]


def many(scenarios: int) -> Report:
    """A report of three failing pairs and a table of its own in each of many scenarios."""
    names = [f"s{number}" for number in range(scenarios)]
    cells = [
        a_cell("2.4", loader, "error", scenario=name)
        for name in names
        for loader in ("2.5", "2.6", "2.7")
    ]
    tables = [a_table(name, "plain", cells=number) for number, name in enumerate(names, 1)]
    return a_report(*cells, bands=tuple(tables))


def test_markdown_has_a_line_for_each_cause_and_says_what_it_leaves_out() -> None:
    text = markdown.text(many(40), ORDER)
    lines = [line for line in text.splitlines() if line.startswith("| deviates |")]
    assert len(lines) == 1
    assert "| 120 | s0, s1, " in lines[0] and "2.4 -&gt;" not in lines[0]
    assert lines[0].endswith("/ plain: 2.4 -> 2.5-2.7 |")
    assert "10 more tables" in text
    assert "2.4->2.5" not in text


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    message = "in \x1b[1mbold\x1b[0m,\n\x07 and \x9b2J"
    cell = a_cell("2.4", "2.5", "error", error_message=message)
    assert cell.reason == "KeyError at load_state_dict: in bold, and 2J"


def printed(report: Report) -> str:
    plan = SimpleNamespace(releases={})
    nothing = SimpleNamespace(plan=plan, saves=(), failing_entries=(), controls=(), verdicts=())
    stream = io.StringIO()
    found = printout.of(nothing, report)  # type: ignore[arg-type]
    console.print_judgement(Console(file=stream, width=80), found)
    return stream.getvalue()


def test_of_many_tables_the_console_prints_a_line_for_each_scenario() -> None:
    assert printed(many(8)).count("documented -> observed") == 8
    text = printed(many(9))
    assert "documented -> observed" not in text
    assert "  s8  error 3; deviating 3" in text
    assert "9 tables of bands are not printed" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_has_a_table_folded(terminal: bool) -> None:
    """What is long stays on one line in a log, whatever width the log is said to have."""
    long = f"decoder.layers.0.{'module.' * 30}core_attention._extra_state"
    table = Table(title="FP8 state")
    table.add_column("state", overflow="fold")
    table.add_row(long)
    stream = io.StringIO()
    console.print_table(Console(file=stream, width=40, force_terminal=terminal), table)
    assert (long in stream.getvalue()) == (not terminal)
    assert (max(map(len, stream.getvalue().splitlines())) < len(long)) == terminal
