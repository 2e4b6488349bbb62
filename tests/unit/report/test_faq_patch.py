"""Rule: the patched FAQ says of every load what was observed, and nothing that was not."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import faq_reader
from helpers.builders import FAQ_SCENARIOS, TODAY, a_cell, a_report
from matrix import report
from matrix.catalogue import faq, releases
from matrix.catalogue.releases import Release
from matrix.catalogue.selection import Selection
from matrix.cli import main
from matrix.errors import ExitCode, UnobservedError
from matrix.report import faq_patch
from matrix.report.cells import ReportCell
from matrix.report.document import Report
from matrix.report.faq_patch import corrected, table
from matrix.report.faq_patch.versions import notation
from matrix.workflow.selecting import Request, select

ORDER = releases.order([])
FAQ = faq.load()
FEW = ("1.5", "1.6", "1.8", "2.3", "2.16", "2.16.1", "2.17")
"""Releases of every band, with neighbours that are not in the order of their behaviour."""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@functools.cache
def observed() -> Report:
    """The report on all releases, from the recorded evidence."""
    selected = select(Request(Selection(**faq_patch.SELECTION)))
    return report.build(selected.judge(TODAY), selected.documentation)


def known(names: Any = ORDER) -> dict[str, Release]:
    catalogue = releases.load()
    return {name: catalogue[name] for name in names}


@functools.cache
def among_few() -> Report:
    """The report on a few releases alone."""
    whole = observed()
    cells = [one for one in whole.cells if {one.saved_by, one.loaded_by} <= set(FEW)]
    saves = [one for one in whole.saves if one.release in FEW]
    rows = [one for one in whole.releases if one.name in FEW]
    return whole.model_copy(
        update={"cells": tuple(cells), "saves": tuple(saves), "releases": tuple(rows)}
    )


def by_pair(made: Report) -> dict[tuple[str, str, str], dict[str, ReportCell]]:
    found: dict[tuple[str, str, str], dict[str, ReportCell]] = {}
    for cell in made.cells:
        place = cell.scenario, cell.saved_by, cell.loaded_by
        found.setdefault(place, {})[cell.variant] = cell
    return found


def disagreements(text: str, made: Report, names: Any = ORDER) -> list[str]:
    """In what the text of the file differs from the loads of a report."""
    readings, pairs = faq_reader.readings(text, names), by_pair(made)
    assert readings.keys() == pairs.keys()
    found = (faq_reader.disagreement(readings[place], pairs[place]) for place in pairs)
    return [one for one in found if one]


@functools.cache
def printed() -> str:
    result = CliRunner().invoke(main, ["bands", "--faq"])
    assert result.exit_code == ExitCode.OK, result.output
    return result.output


def published() -> list[str]:
    """The file, with other lines in place of those above what the patch shows."""
    above = [f"Line {number}." for number in range(1, FAQ.published.line)]
    return [*above, *table.as_published(FAQ).splitlines()]


def applied(patch: str, lines: list[str]) -> list[str]:
    """The lines of a file after a patch. Each hunk has to fit where it says, to the letter."""
    _, *hunks = re.split(r"^@@ -(\d+),\d+ \+\d+,\d+ @@\n", patch, flags=re.M)
    made, at = [], 0
    for start, body in zip(hunks[::2], hunks[1::2], strict=True):
        made += lines[at : int(start) - 1]
        at = int(start) - 1
        for line in body.splitlines():
            sign, text = line[0], line[1:]
            if sign != "+":
                assert lines[at] == text
                at += 1
            if sign != "-":
                made.append(text)
    return made + lines[at:]


# The published list.


def test_the_published_list_is_the_one_that_the_documentation_has() -> None:
    text = table.as_published(FAQ)
    assert hashlib.sha256(text.encode()).hexdigest() == FAQ.published.sha256


def test_the_reader_of_these_tests_reads_what_the_table_of_the_faq_says() -> None:
    readings = faq_reader.readings(table.as_published(FAQ), ORDER)
    catalogue = known()
    for saver, loader in itertools.product(ORDER, ORDER):
        reading = readings["autocast", saver, loader]
        for variant in ("plain", "remapped", "trusted"):
            said = FAQ.documented(variant, catalogue[saver], catalogue[loader])
            meaning = getattr(reading, variant)
            assert meaning is None or meaning.outcome == said.outcome
            assert variant != "plain" or "".join(meaning.reasons) == said.reason


def test_the_published_list_does_not_agree_with_what_was_observed() -> None:
    text = table.as_published(FAQ)
    readings, pairs = faq_reader.readings(text, ORDER), by_pair(observed())
    wrong = [place for place in readings if faq_reader.disagreement(readings[place], pairs[place])]
    assert ("autocast", "1.13", "2.3") in wrong
    assert ("autocast", "1.8", "1.11") not in wrong


# The patch.


def test_the_patched_list_says_of_every_load_what_was_observed() -> None:
    lines = applied(printed(), published())
    text = "\n".join(lines[FAQ.published.line - 1 :])
    made = observed()
    assert disagreements(text, made) == []
    assert len(made.cells) == 5904
    first, second = (faq_reader.rows(one) for one in faq_reader.lists(text))
    places = {
        (loader, saves)
        for title, saves, _lines in first
        for loader in faq_reader.versions(title, ORDER)
    }
    assert {(row.release, row.observed) for row in made.saves} == {
        (loader, saves.partition(" metadata to ")[2] or "none") for loader, saves in places
    }
    assert not any(saves for _title, saves, _lines in second)


def test_the_lists_name_the_releases_that_they_rest_on() -> None:
    assert f"\n+{FAQ.published.list} Transformer Engine 1.0 to 2.20.2, for weights" in printed()


def test_a_line_of_code_that_goes_on_has_a_prompt() -> None:
    assert "+                  ...     state_dict[" in printed()


def test_the_patch_has_no_lines_above_the_list() -> None:
    assert "Line " not in "".join(printed().splitlines()[5:])
    assert "\n+++ b/docs/faq.rst\n@@ -32," in printed()


SEEN: Mapping[str, dict[str, Any]] = {
    "loaded": {},
    "loaded, resized": {"resized": True},
    "frozen": {"after_load": "frozen", "rest": "loaded", "rest_after_load": "frozen"},
    "rest lost": {"rest": "defaults"},
    "rest frozen": {"rest": "loaded", "rest_after_load": "frozen"},
    "defaults": {"outcome": "defaults"},
    "none": {"outcome": "none"},
    "partial": {"outcome": "partial"},
    "weights": {"outcome": "partial", "weights": "changed"},
    "recipe": {"outcome": "error"},
    "scale": {"outcome": "error", "error_message": "'scale_inv_fwd'"},
    "key": {"outcome": "error", "error_type": "RuntimeError", "unexpected_keys": ("a",)},
    "torch.load": {"outcome": "error", "error_type": "EOFError", "stage": "deserialize"},
    "save": {"outcome": "error", "error_type": "TypeError", "stage": "save"},
}
"""What may become of a load, as fields of its cell."""


def changed(cell: ReportCell, seen: str) -> ReportCell:
    """A cell with something else observed."""
    names = {"scenario": cell.scenario, "variant": cell.variant}
    return a_cell(cell.saved_by, cell.loaded_by, **names, **{"weights": "equal", **SEEN[seen]})


@settings(max_examples=50)
@given(st.data())
def test_whatever_is_observed_is_what_the_list_says(data: st.DataObject) -> None:
    made = among_few()
    places = st.integers(0, len(made.cells) - 1)
    changes = data.draw(st.dictionaries(places, st.sampled_from(list(SEEN)), max_size=40))
    cells = list(made.cells)
    for place, seen in changes.items():
        cells[place] = changed(cells[place], seen)
    other = made.model_copy(update={"cells": tuple(cells)})
    assert disagreements(corrected.text(other, FAQ, known(FEW)), other, FEW) == []


@settings(max_examples=30)
@given(st.data(), st.sampled_from(list(SEEN)))
def test_a_text_stays_only_where_it_agrees_with_the_other_outcome(
    data: st.DataObject, seen: str
) -> None:
    made = among_few()
    cells = list(made.cells)
    place = data.draw(st.integers(0, len(cells) - 1))
    cells[place] = changed(cells[place], seen)
    other = made.model_copy(update={"cells": tuple(cells)})
    before, after = (corrected.text(one, FAQ, known(FEW)) for one in (made, other))
    assert (before != after) or disagreements(before, other, FEW) == []


def test_what_is_not_saved_where_documented_is_said() -> None:
    made = among_few()
    for change, words in (
        ({"outcome": "error"}, "- Error when saving"),
        ({"conforms": False, "observed": "none"}, "- Saves no FP8 metadata\n"),
        ({"conforms": False, "observed": "a"}, "- Saves FP8 metadata to `a`"),
        ({"outcome": "spoilt"}, "_extra_state`, but not as the module holds it"),
    ):
        saves = [
            row.model_copy(update=change) if row.release == "2.17" else row for row in made.saves
        ]
        other = made.model_copy(update={"saves": tuple(saves)})
        assert words in corrected.text(other, FAQ, known(FEW))
        assert words not in corrected.text(made, FAQ, known(FEW))


# What is not claimed.


def test_nothing_is_claimed_of_loads_that_were_not_observed() -> None:
    cells = [a_cell("2.3", "2.4"), a_cell("2.4", "2.4", "not-run", verdict="not-run", stage=None)]
    with pytest.raises(UnobservedError, match=r"1 of 2 cells .*autocast/plain/2.4->2.4 \(not-run"):
        faq_patch.patch(a_report(*cells), FAQ, known())


def test_there_is_no_patch_where_nothing_is_recorded() -> None:
    result = CliRunner().invoke(main, ["bands", "--faq", "--lane", "cpu", "--size", "faq"])
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "5904 of 5904 cells without outcome" in result.output
    assert "---" not in result.output


@pytest.mark.parametrize(
    "options",
    [
        ["--scenario", "linear"],
        ["--releases", "1.7"],
        ["--saved-by", "all"],
        ["--variant", "plain"],
        ["--json"],
    ],
)
def test_a_patch_is_about_the_whole_list_and_nothing_else(options: list[str]) -> None:
    result = CliRunner().invoke(main, ["bands", "--faq", *options])
    assert result.exit_code == ExitCode.USAGE
    assert options[0] in result.output


def test_its_own_selection_may_be_spelled_out() -> None:
    words = ["--releases", "all", "--scenario", FAQ_SCENARIOS]
    assert CliRunner().invoke(main, ["bands", "--faq", *words]).output == printed()


# Versions.


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["1.5", "1.6"], "<= 1.6"),
        (["1.5"], "<= 1.5"),
        (["1.6"], "1.6"),
        (["1.6", "1.8"], "1.6, 1.8"),
        (["1.6", "1.8", "2.3"], ">= 1.6, <= 2.3"),
        (["2.16"], "2.16.0"),
        (["2.16", "2.16.1"], "2.16.0, 2.16.1"),
        (["1.8", "2.3", "2.16"], ">= 1.8, <= 2.16.0"),
        (["2.3", "2.16", "2.16.1"], ">= 2.3, <= 2.16.1"),
        (["1.5", "1.6", "2.16", "2.17"], "<= 1.6; 2.16.0; 2.17"),
        (["2.16.1", "2.17"], ">= 2.16.1"),
        (list(FEW), ">= 1.5"),
    ],
)
def test_versions_are_written_as_the_faq_does(names: list[str], text: str) -> None:
    assert notation(names, FEW) == text
    assert faq_reader.versions(text, FEW) == names


def test_a_candidate_has_a_name_in_the_list() -> None:
    order = ["2.20.2", "2.21@0123abcd"]
    assert notation(order[:1], order) == "<= 2.20.2"
    assert notation(order[1:], order) == "2.21@0123abcd"


@given(st.sets(st.sampled_from(ORDER), min_size=1))
def test_versions_are_read_as_they_were_meant(names: set[str]) -> None:
    assert set(faq_reader.versions(notation(names, ORDER), ORDER)) == names
