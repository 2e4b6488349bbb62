"""Rule: report.json holds a report whole, in a form that any language reads, and any that was
altered is refused by name and place."""

from __future__ import annotations

import copy
import json
import re
import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from helpers.builders import FAQ_SCENARIOS, REPORT_FORMAT_1, a_cell, a_report, a_scenario
from matrix.cli import main
from matrix.errors import StoreError
from matrix.report import cells, document
from matrix.report.cells import ReportCell
from matrix.report.document import Report

USING = Path(__file__).parents[3] / "docs" / "using.md"
CELLS = (a_cell("1.8", "2.4"), a_cell("1.8", "2.5", "error"), a_cell("2.4", "2.5", "error"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str) -> Report:
    Path("report.json").write_text(text)
    return document.read(Path("report.json"))


# What was written comes back.


def test_the_whole_matrix_comes_back_from_less_than_2_mb() -> None:
    everything = ["--releases", "all", "--scenario", FAQ_SCENARIOS, "--variant", "all"]
    written = CliRunner().invoke(main, ["report", "--json", *everything]).output
    judged = json.loads(CliRunner().invoke(main, ["judge", "--json", *everything]).output)
    assert len(judged) == 13359
    assert [cell.model_dump(mode="json") for cell in read(written).cells] == judged
    assert len(written) < 600_000
    assert document.text(read(written)) == written


def anything(kind: type[Any]) -> st.SearchStrategy[Any]:
    """A record with any values that its fields may have."""
    return st.builds(kind, **dict.fromkeys(kind.model_fields, ...))


GROUPS = (cells.Observation, cells.CellJudgement, cells.CellCheckpoint, cells.CellRun)
NAMES = st.sampled_from(["1.7", "2.4", "2.18.0@cdcdcdcd"])
PLACES = st.tuples(st.sampled_from(["autocast", "mine"]), st.text(), NAMES, NAMES)
# 0.0 and -0.0 are one number here: no difference of outputs is either.
NUMBERS = st.none() | st.floats().map(lambda number: number + 0.0)


@st.composite
def cells_of_all_kinds(draw: st.DrawFn) -> list[ReportCell]:
    found = []
    for place in draw(st.lists(PLACES, unique=True, max_size=6)):
        scenario, variant, saver, loader = place
        fields: dict[str, Any] = {"scenario": scenario, "variant": variant}
        for group in GROUPS:
            fields |= dict(draw(anything(group)))
        output = {"output_difference": draw(NUMBERS), "output_largest": draw(NUMBERS)}
        found.append(a_cell(saver, loader, **fields, **output))
    return found


@given(cells_of_all_kinds())
def test_any_report_comes_back(written: list[ReportCell]) -> None:
    report = a_report(*written)
    # Not by equality: NaN is unequal to itself.
    assert repr(read(document.text(report))) == repr(report)


def test_what_cells_share_is_written_once() -> None:
    data = json.loads(document.text(a_report(*CELLS)))
    assert {name: len(data[name]) for name in ("cells", "observations", "judgements")} == {
        "cells": 3,
        "observations": 2,
        "judgements": 2,
    }
    assert document.text(a_report(*CELLS)).count("KeyError") == 1


def test_every_cell_has_a_line_of_its_own() -> None:
    lines = document.text(a_report(*CELLS)).splitlines()
    start = lines.index('"cells": [')
    assert [json.loads(line.rstrip(",")) for line in lines[start + 1 : start + 4]] == (
        json.loads("\n".join(lines))["cells"]
    )


def test_the_documents_example_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    section = USING.read_text().partition("\n## report.json\n")[2].partition("\n## ")[0]
    indented = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    Path("report.json").write_text(document.text(a_report(*CELLS)))
    Path("example.py").write_text("\n".join(indented))
    runpy.run_path("example.py")
    assert capsys.readouterr().out.splitlines() == [
        f"{cell.saved_by} {cell.loaded_by} {cell.outcome}" for cell in CELLS
    ]


def test_it_says_how_each_scenario_makes_its_checkpoints(elsewhere: Path) -> None:
    (elsewhere / "mine.toml").write_text(
        '[size.tiny]\nhidden_size = 32\nattention_heads = 2\n[[scenario]]\nname = "mine"\n'
        'summary = "s"\nsize = "tiny"\nlayers = 2\nstate = "attention"\n'
        "load_recipe = { amax_history_len = 16 }\ntransport = { strict = false }\n"
    )
    words = ["report", "--json", "--scenarios", "mine.toml", "--scenario", "mine"]
    data = json.loads(CliRunner().invoke(main, [*words, "--releases", "1.8"]).output)
    (found,) = data["scenarios"]
    assert re.fullmatch("[0-9a-f]{64}", found.pop("digest"))
    assert found == {
        "name": "mine",
        "summary": "s",
        "module": "MultiheadAttention",
        "size": {"hidden_size": 32, "attention_heads": 2},
        "layers": 2,
        "weights": "high-precision",
        "state": "attention",
        "save_recipe": {"name": "DelayedScaling", "fields": {}},
        "load_recipe": {"name": "DelayedScaling", "fields": {"amax_history_len": 16}},
        "device": "hopper",
        "attention": "core_attention",
        "transport": {"distributed": False, "weights_only": False, "strict": False},
    }


# What earlier versions wrote, and later ones may.


def test_format_1_is_read_and_what_it_lacks_has_defaults() -> None:
    report = document.read(REPORT_FORMAT_1)
    assert [cell.id for cell in report.cells] == [
        f"autocast/plain/{pair}" for pair in ("1.7->1.7", "2.0->1.7", "1.7->2.0", "2.0->2.0")
    ]
    assert [cell.error_type for cell in report.cells] == [None, "KeyError", "KeyError", None]
    assert {(cell.parts, cell.weights, cell.controls) for cell in report.cells} == {((), None, ())}
    assert (report.scenarios, report.variants) == ((), ())


def test_format_1_is_not_written_anew_without_what_it_lacks() -> None:
    with pytest.raises(StoreError, match="a cell has scenario autocast, which the report does not"):
        document.text(document.read(REPORT_FORMAT_1))


def test_old_and_new_are_compared() -> None:
    old = document.read(REPORT_FORMAT_1)
    described = {"scenarios": (a_scenario("autocast"),)}
    described["variants"] = (document.VariantRow(name="plain", summary="s"),)
    Path("new.json").write_text(document.text(old.model_copy(update=described)))
    result = CliRunner().invoke(main, ["diff", str(REPORT_FORMAT_1), "new.json"])
    assert "4 cells compared: nothing changed" in result.output
    assert result.exit_code == 0


def test_columns_are_found_by_name_and_unknown_ones_ignored() -> None:
    report = a_report(*CELLS)
    data = json.loads(document.text(report))
    data["columns"] = [{"name": "later", "into": "laters"}, *reversed(data["columns"])]
    data["cells"] = [[7, *reversed(row)] for row in data["cells"]]
    assert read(json.dumps(data)) == report


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        (3, "has format 3; this program reads up to 2. Use the version of te-matrix that wrote"),
        (0, "Format: Input should be greater than or equal to 1"),
        ("new", "Format: Input should be a valid integer"),
    ],
)
def test_a_format_that_is_not_known_is_refused(version: object, complaint: str) -> None:
    data = {"format": version, "cells": "in another form"}
    with pytest.raises(StoreError, match=complaint):
        read(json.dumps(data))


# What was altered.


def at(*path: str | int, value: Any = None) -> Callable[[Any], None]:
    """Return a function that changes one place of a document, or deletes it."""

    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        if value is None:
            del data[path[-1]]
        else:
            data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (at("cells", 1, 2, value=9), "Cells.1: saved_by is 9, and releases has 3 entries"),
        (at("cells", 2, 4, value=2), "Cells.2: observation is 2, and observations has 2 entries"),
        (at("cells", 0, 0, value=-1), "Cells.0.0: Input should be greater than or equal to 0"),
        (at("cells", 0, 5, value="0"), "Cells.0.5: Input should be a valid integer"),
        (at("cells", 0, 5, value=True), "Cells.0.5: Input should be a valid integer"),
        (at("cells", 1, 8), "Cells.1 has 8 numbers where there are 9 columns"),
        (at("cells", 1), "planned, totals and the number of cells differ"),
        (at("cells", 1, value=[0] * 9), "totals are not the numbers of the cells' verdicts"),
        (at("cells", 1, 3, value=1), "1.8->2.4 is listed more than once"),
        (at("cells", value={}), "Cells: Input should be a valid array"),
        (at("judgements", 0, "verdict", value="deviates"), "totals are not the numbers"),
        (at("judgements", 0, "verdict", value="fine"), "Judgements.0.verdict: Input should be"),
        (at("observations", 1, "stage"), "Observations.1.stage: Field required"),
        (at("observations"), "Observations: Field required"),
        (at("runs", value=[]), "Cells.0: run is 0, and runs has 0 entries"),
        (at("scenarios"), "Cells.0: scenario is 0, and scenarios has 0 entries"),
        (at("scenarios", 0, "module"), "Scenarios.0.module: Field required"),
        (at("releases", 2), "Cells.1: loaded_by is 2, and releases has 2 entries"),
        (at("releases", 2, "name", value="new"), "Invalid version: 'new'"),
        (at("columns", 4), "Columns: none is observation, an index into observations"),
        (at("columns", 4, "into", value="runs"), "Columns: none is observation, an index into"),
        (at("columns"), "Columns: Field required"),
        (at("format", value=1), "Cells.0: Input should be an object"),
    ],
)
def test_an_altered_file_is_refused_with_its_name_and_the_place(
    change: Callable[[Any], None], complaint: str
) -> None:
    data = copy.deepcopy(json.loads(document.text(a_report(*CELLS))))
    change(data)
    with pytest.raises(StoreError) as error:
        read(json.dumps(data))
    assert str(error.value).startswith("report.json cannot be read as a report. ")
    assert complaint in str(error.value)


def test_a_torn_file_is_refused() -> None:
    whole = document.text(a_report(*CELLS))
    for end in range(0, len(whole) - 2, 97):
        with pytest.raises(StoreError, match=r"^report\.json cannot be read as a report\. "):
            read(whole[:end])


def test_an_altered_file_of_format_1_is_refused() -> None:
    data = json.loads(REPORT_FORMAT_1.read_text())
    del data["releases"][1]
    with pytest.raises(StoreError, match=r"is of 2\.0, which is not among the releases"):
        read(json.dumps(data))
    assert Counter(cell["verdict"] for cell in data["cells"]).total() == 4
