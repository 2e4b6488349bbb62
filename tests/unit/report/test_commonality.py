"""Rule: what all modules do is told from what one does; what is not common is not called so."""

from __future__ import annotations

from typing import Any

from helpers.builders import a_cell, a_report, a_scenario
from matrix.catalogue import releases
from matrix.report import behaviour, commonality
from matrix.report.cells import ReportCell
from matrix.report.commonality import SharedShift
from matrix.report.document import Report

ORDER = releases.order([])
MODULES = {"mha": "MultiheadAttention", "linear": "Linear", "norm": "RMSNorm"}


def a_grid(scenario: str, names: list[str], seen: dict[tuple[str, str], str]) -> list[ReportCell]:
    """Every pair of the releases in a scenario, loaded unless named as (saver, loader)."""
    return [
        a_cell(saver, loader, seen.get((saver, loader), "loaded"), scenario=scenario)
        for saver in names
        for loader in names
    ]


def of_modules(*cells: ReportCell, **more: Any) -> Report:
    """A report whose scenarios, named in MODULES, differ in their modules alone."""
    used = dict.fromkeys(cell.scenario for cell in cells)
    rows = [a_scenario(name).model_copy(update={"module": MODULES[name]}) for name in used]
    return a_report(*cells, scenarios=tuple(rows), **more)


def shared(report: Report) -> list[SharedShift]:
    return commonality.shared(report, list(behaviour.discover(report, ORDER)))


REFUSED = {("2.4", "2.5"): "error"}


def test_a_change_is_common_only_if_every_module_shows_it() -> None:
    for others, reach in (
        ({"linear": REFUSED, "norm": REFUSED}, "all"),
        ({"norm": REFUSED}, "several"),
    ):
        cells = a_grid("mha", ["2.4", "2.5"], REFUSED)
        for name in ("linear", "norm"):
            cells += a_grid(name, ["2.4", "2.5"], others.get(name, {}))
        loading = [one for one in shared(of_modules(*cells)) if one.role == "loader"]
        assert [one.reach for one in loading] == [reach]
        assert loading[0].others == (() if reach == "all" else ("Linear",))


def test_one_module_is_never_all() -> None:
    found = shared(of_modules(*a_grid("mha", ["2.4", "2.5"], REFUSED)))
    assert {one.reach for one in found} == {"one"}


def test_a_module_that_one_of_the_releases_lacks_does_not_count() -> None:
    cells = a_grid("mha", ["2.4", "2.5"], REFUSED) + a_grid("linear", ["2.4", "2.5"], REFUSED)
    cells += a_grid("norm", ["2.5", "2.6"], {})
    assert {one.reach for one in shared(of_modules(*cells))} == {"all"}


def test_a_module_that_holds_no_fp8_state_does_not_count() -> None:
    cells = a_grid("mha", ["2.4", "2.5"], REFUSED) + a_grid("linear", ["2.4", "2.5"], REFUSED)
    report = of_modules(*cells, *a_grid("norm", ["2.4", "2.5"], {}))
    rows = [
        row.model_copy(update={"state": "none"}) if row.name == "norm" else row
        for row in report.scenarios
    ]
    found = shared(report.model_copy(update={"scenarios": tuple(rows)}))
    assert {one.reach for one in found} == {"all"}


def test_ends_without_an_exception_differ_and_exceptions_do_not() -> None:
    cells = a_grid("mha", ["2.4", "2.5"], {("2.4", "2.4"): "none", **REFUSED})
    cells += a_grid("linear", ["2.4", "2.5"], {("2.4", "2.4"): "defaults", **REFUSED})
    (loading,) = [one for one in shared(of_modules(*cells)) if one.role == "loader"]
    assert (loading.before, loading.now, loading.reach) == (("none", "defaults"), ("error",), "all")
    lost = {("2.4", "2.5"): "defaults"}
    cells = a_grid("mha", ["2.4", "2.5"], lost)
    cells += a_grid("linear", ["2.4", "2.5"], {("2.4", "2.5"): "partial"})
    assert {one.reach for one in shared(of_modules(*cells))} == {"one"}


def test_what_was_not_seen_is_no_change() -> None:
    cells = a_grid("mha", ["2.4"], {})
    cells += [a_cell("2.4", "2.5", "not-run", scenario="mha", verdict="not-run", stage=None)]
    assert shared(of_modules(*cells)) == []


def test_as_text_what_is_common_comes_first() -> None:
    cells = a_grid("mha", ["2.4", "2.5", "2.6"], {**REFUSED, ("2.5", "2.6"): "defaults"})
    cells += a_grid("linear", ["2.4", "2.5", "2.6"], REFUSED)
    report = of_modules(*cells)
    found = list(behaviour.discover(report, ORDER))
    text = list(commonality.lines(shared(report), found, ORDER))
    own = text.index("In one module only (3 changes):")
    common = text.index("  2.5: plain, loading 2.4: loaded -> error  [mha, linear]")
    assert text.index("In all modules with FP8 state (3 changes):") < common < own
    assert "  2.6: plain, loading 2.5: loaded -> defaults  [MultiheadAttention: mha]" in text[own:]


def test_scenarios_in_which_the_same_releases_stand_together_are_one_group() -> None:
    cells = [*a_grid("mha", ["2.4", "2.5"], REFUSED), *a_grid("norm", ["2.4", "2.5"], {})]
    cells += a_grid("linear", ["2.4", "2.5"], {("2.4", "2.5"): "defaults"})
    found = list(behaviour.discover(of_modules(*cells), ORDER))
    groups = [one.scenarios for one in commonality.alike(found)]
    assert groups == [("mha", "linear"), ("norm",)]
