"""Rule: pytest sees one item per cell, and without --te-matrix nothing at all."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import hypothesis  # noqa: F401 - its plugin would import it in every run inside pytest
import pytest

from helpers.builders import a_cell, a_report
from matrix.errors import ExitCode, MatrixError
from matrix.gate import (
    pytest_items,  # noqa: F401 - else pytest imports it anew in every run
    pytest_session,
)
from matrix.gate.policies import Check, CheckState
from matrix.report import document

pytest_plugins = ["pytester"]

CELLS = [
    a_cell("2.4", "2.4"),
    a_cell("2.4", "2.5", "error"),
    a_cell("2.4", "2.6", "error", verdict="known-deviation", ledger=("known",)),
    a_cell("2.4", "2.7", "not-run", verdict="not-run", note="nothing was run"),
    a_cell("2.4", "2.8", "infra", verdict="infra", note="killed"),
    a_cell("2.4", "2.9", after_load="frozen", verdict="known-deviation", ledger=("f",)),
]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COLUMNS", "200")
    path = pytester.path / "run.json"
    path.write_text(document.text(a_report(*CELLS)))
    return path


def outcomes(result: pytest.RunResult) -> dict[str, int]:
    return {name: n for name, n in result.parseoutcomes().items() if name != "warnings"}


def test_one_item_per_cell(pytester: pytest.Pytester, run: Path) -> None:
    result = pytester.runpytest_inprocess("--te-matrix", str(run), "-v", "-rA")
    assert outcomes(result) == {"passed": 1, "failed": 2, "xfailed": 2, "errors": 1}
    result.stdout.fnmatch_lines(
        [
            "*collected 6 items",
            "te-matrix::autocast/plain/2.4->2.4 PASSED*",
            "*autocast/plain/2.4->2.5: documented loaded, error: KeyError at load_state_dict*",
        ]
    )
    result.stdout.fnmatch_lines(["FAILED te-matrix::autocast/plain/2.4->2.7*nothing was run*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_missing_cells_are_skipped_only_under_allow_missing(
    pytester: pytest.Pytester, run: Path
) -> None:
    result = pytester.runpytest_inprocess("--te-matrix", str(run), "--te-matrix-allow-missing")
    assert outcomes(result) == {
        "passed": 1, "failed": 1, "xfailed": 2, "errors": 1, "skipped": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["-k", "2.5 or 2.6"], ["2.4->2.5", "2.4->2.6"]),
        (["-k", "autocast/plain and not 2.5"], ["2.4", "2.6", "2.7", "2.8", "2.9"]),
        (["-m", "known_deviation"], ["2.4->2.6", "2.4->2.9"]),
        (["-m", "missing"], ["2.4->2.7", "2.4->2.8"]),
        (["-m", "frozen"], ["2.4->2.9"]),
        (["-m", "cell(saved_by='2.4', loaded_by='2.5')"], ["2.4->2.5"]),
    ],
)
def test_items_are_chosen_by_name_and_by_marker(
    pytester: pytest.Pytester, run: Path, words: list[str], ids: list[str]
) -> None:
    result = pytester.runpytest_inprocess(
        "--te-matrix", str(run), "--collect-only", "-q", "--strict-markers", *words
    )
    found = [line for line in result.outlines if line.startswith("te-matrix::")]
    assert len(found) == len(ids)
    assert all(one.endswith(name) for one, name in zip(found, ids, strict=True))


def test_junit_is_pytests_own(pytester: pytest.Pytester, run: Path) -> None:
    pytester.runpytest_inprocess("--te-matrix", str(run), "-k", "2.5 or 2.6", "--junitxml=j.xml")
    suite = ET.parse(pytester.path / "j.xml").getroot()[0]
    assert suite.attrib["tests"] == "2"
    cases = {case.attrib["name"]: case for case in suite}
    failed = cases["autocast/plain/2.4->2.5"]
    assert failed.attrib["classname"] == "te-matrix"
    assert "KeyError" in failed[0].text
    assert cases["autocast/plain/2.4->2.6"][0].attrib["type"] == "pytest.xfail"


def test_a_known_deviation_that_is_gone_fails(pytester: pytest.Pytester) -> None:
    check = Check(
        "autocast/plain/2.4->2.5", CheckState.FIXED, ExitCode.DEVIATES, "agrees now", CELLS[0]
    )
    assert pytest_session.run([check], pytester.path / "j.xml") == ExitCode.DEVIATES
    text = (pytester.path / "j.xml").read_text()
    assert "[XPASS(strict)] agrees now" in text


def test_files_are_collected_only_where_they_are_named(
    pytester: pytest.Pytester, run: Path
) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    assert "test_mine" not in pytester.runpytest_inprocess("--te-matrix", str(run)).stdout.str()
    both = pytester.runpytest_inprocess("--te-matrix", str(run), "test_mine.py", "-m", "not cell")
    assert outcomes(both) == {"passed": 1, "deselected": 6}


def test_beside_a_project_with_settings_of_its_own(pytester: pytest.Pytester, run: Path) -> None:
    """A conftest of any folder, its own markers and filters: the cells run all the same."""
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers -ra\nfilterwarnings = error\ntestpaths = tests\n"
        "xfail_strict = true\n"
    )
    pytester.mkdir("tests")
    (pytester.path / "tests" / "conftest.py").write_text("def pytest_runtest_setup(): pass\n")
    (pytester.path / "tests" / "test_mine.py").write_text("def test_mine(): assert False\n")
    result = pytester.runpytest_inprocess("--te-matrix", str(run), "-k", "2.5 or 2.6")
    assert outcomes(result) == {"failed": 1, "xfailed": 1, "deselected": 4}


def test_without_the_option_nothing_changes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    result = pytester.runpytest_inprocess("--strict-markers", "-v")
    assert outcomes(result) == {"passed": 1}
    assert "te-matrix::" not in result.stdout.str()
    markers = pytester.runpytest_inprocess("--markers").stdout.str()
    assert "te-matrix" not in markers


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--te-matrix", "gone"], "*gone is neither a store nor a report.json*"),
        (["--te-matrix", "run.json", "--te-matrix-policy", "ledgr"], "*no policy ledgr. Did you*"),
        (["--te-matrix", "run.json", "--te-matrix-policy", "no-regression"], "*needs a baseline*"),
        (["--te-matrix", "run.json", "--te-matrix-select=--nosuch"], "*No such option*nosuch*"),
    ],
)
def test_usage_errors(
    pytester: pytest.Pytester, run: Path, words: list[str], complaint: str
) -> None:
    result = pytester.runpytest_inprocess(*words)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([complaint])


# The engine: pytest by itself.


def test_no_configuration_of_the_place_reaches_the_gate(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\naddopts = -x --nosuchoption\nxfail_strict = nonsense\n")
    pytester.makeconftest("raise SystemExit('a conftest was read')")
    pytester.makepyfile(test_mine="def test_mine(): assert False")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--nosuchoption")
    monkeypatch.setenv("PYTEST_PLUGINS", "nosuchplugin")
    checks = [
        Check("a", CheckState.PASS, ExitCode.OK, ""),
        Check("b", CheckState.KNOWN, ExitCode.OK, "r"),
    ]
    assert pytest_session.run(checks) == ExitCode.OK
    assert os.environ["PYTEST_ADDOPTS"] == "--nosuchoption"
    assert os.environ["PYTEST_PLUGINS"] == "nosuchplugin"
    assert "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in os.environ


def test_pytest_and_the_checks_must_come_to_one_end(pytester: pytest.Pytester) -> None:
    with pytest.raises(MatrixError, match="where the checks come to exit code 0"):
        pytest_session.run([Check("a", CheckState.FAIL, ExitCode.OK, "told apart differently")])
    with pytest.raises(MatrixError, match="where the checks come to exit code 1"):
        pytest_session.run(
            [Check("a", CheckState.PASS, ExitCode.DEVIATES, "told apart differently")]
        )


def test_a_hostile_reason_stays_inside_its_element(pytester: pytest.Pytester) -> None:
    hostile = "]]></failure><x/>\x00\x1b[31m &amp;"
    pytest_session.run(
        [Check("a", CheckState.FAIL, ExitCode.DEVIATES, hostile)], pytester.path / "j.xml"
    )
    case = ET.parse(pytester.path / "j.xml").getroot()[0][0]
    assert "]]></failure><x/>" in case[0].text
    assert len(case) == 1


LACKING = [
    a_cell("2.9", loader, "infra", verdict="infra", note="no einops", lacking="2.9")
    for loader in ("2.4", "2.5")
]


def test_a_lacking_release_is_one_error_and_its_cells_are_skipped(
    pytester: pytest.Pytester,
) -> None:
    path = pytester.path / "run.json"
    path.write_text(document.text(a_report(CELLS[0], *LACKING)))
    whole = pytester.runpytest_inprocess("--te-matrix", str(path), "--junitxml=j.xml")
    assert outcomes(whole) == {"passed": 1, "errors": 1, "skipped": 2}
    cases = ET.parse(pytester.path / "j.xml").getroot()[0]
    assert [case.attrib["name"] for case in cases if case.find("error") is not None] == [
        "release/2.9"
    ]


def test_a_cell_chosen_without_its_lacking_release_fails_itself(pytester: pytest.Pytester) -> None:
    path = pytester.path / "run.json"
    path.write_text(document.text(a_report(CELLS[0], *LACKING)))
    result = pytester.runpytest_inprocess("--te-matrix", str(path), "-k", "2.9 and 2.5")
    assert outcomes(result) == {"errors": 1, "deselected": 3}
    assert result.ret == pytest.ExitCode.TESTS_FAILED
