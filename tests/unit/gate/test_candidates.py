"""Rule: the gate holds a candidate against the release before it, and says so everywhere.

The candidates here have the digest of a release, so that everything of them is recorded.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from helpers.builders import FAQ_SCENARIOS
from matrix.catalogue import releases
from matrix.catalogue.releases import Release
from matrix.cli import main
from matrix.errors import ExitCode
from matrix.gate import (
    pytest_items,  # noqa: F401 - else pytest imports it anew in every run
)
from matrix.lane import sources

pytest_plugins = ["pytester"]

MakeCandidate = Callable[[str, str], str]
FEW = ["--releases", "1.5,1.7,1.11,2.9,2.18", "--today", "2026-11-24"]
FEW += ["--scenario", FAQ_SCENARIOS]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch) -> MakeCandidate:
    """Return a function that makes a copy of a release under another version a candidate."""

    def make(release: str, version: str) -> str:
        known = releases.load()[release]
        made = Release(version=version, digest=known.digest, path="tree", opt_in=known.opt_in)
        monkeypatch.setattr(sources, "candidate", lambda _path: made)
        return made.name

    return make


def te_matrix(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def gate(*words: str) -> Result:
    return te_matrix("gate", "--candidate", "tree", *FEW, *words)


def test_an_untouched_copy_of_the_newest_release_qualifies(candidate: MakeCandidate) -> None:
    name = candidate("2.20.2", "2.21.0.dev0")
    result = gate()
    assert result.exit_code == ExitCode.OK, result.output
    assert f"candidate: {name} from tree, digest" in result.output
    assert "baseline:  2.20.2, recorded evidence" in result.output
    assert f"{name} against 2.20.2: qualified (lane cpu, no kernels" in result.output
    assert "deviat" not in result.output
    assert "not qualified" not in result.output


def test_the_same_copy_is_held_to_the_faq_where_that_is_asked(candidate: MakeCandidate) -> None:
    candidate("2.20.2", "2.21.0.dev0")
    result = gate("--policy", "ledger")
    assert result.exit_code == ExitCode.DEVIATES
    assert "deviates" in result.output


def test_what_is_worse_than_in_the_baseline_fails_by_cause(candidate: MakeCandidate) -> None:
    """2.17.1 refuses pickled extra states, which 2.17 loads; both conform to the ledger."""
    name = candidate("2.17.1", "2.17.2")
    result = gate("--against", "2.17")
    assert result.exit_code == ExitCode.DEVIATES
    assert f"{name} against 2.17: not qualified" in result.output
    assert "worse: loaded -> error: RuntimeError at load_state_dict: Refusing" in result.output
    assert f"autocast/plain: 1.11, 2.9, {name}-2.18 -> {name}" in result.output
    assert gate("--against", "2.17.1").exit_code == ExitCode.OK
    assert f"{name} against 2.17: not qualified" in gate("--against", "v2.17.0").output


def test_the_baseline_is_the_newest_release_before_the_candidate(candidate: MakeCandidate) -> None:
    name = candidate("2.16.1", "2.16.1")
    assert f"{name} against 2.16.1: qualified" in gate().output
    candidate("2.16.1", "2.16.1.dev0")
    assert "against 2.16: " in gate().output


def test_a_candidate_with_no_release_before_it(candidate: MakeCandidate) -> None:
    candidate("1.0", "0.9")
    result = gate()
    assert result.exit_code == ExitCode.USAGE
    assert "there is no release before 0.9@" in result.output
    assert "--against" in result.output


def test_a_baseline_may_be_a_report(candidate: MakeCandidate, elsewhere: Path) -> None:
    words = ["--releases", "1.5,1.7,1.11,2.9,2.18,2.20.2", "--scenario", FAQ_SCENARIOS]
    te_matrix("report", *words, "--variant", "all", "--report", "before")
    candidate("2.20.2", "2.21.0.dev0")
    result = gate("--against", "before/report.json")
    assert result.exit_code == ExitCode.OK, result.output
    assert "baseline:  2.20.2, before/report.json" in result.output


def test_a_baseline_may_be_the_report_on_an_earlier_candidate(
    candidate: MakeCandidate, elsewhere: Path
) -> None:
    before = candidate("2.20.2", "2.21.0.dev0")
    spelled = [*FEW, "--scenario", FAQ_SCENARIOS, "--variant", "plain,remapped,trusted"]
    te_matrix("report", "--candidate", "tree", *spelled, "--report", "before")
    name = candidate("2.19", "2.21.0.dev1")
    result = gate("--against", "before/report.json")
    assert f"{name} against {before}: " in result.output


def test_a_baseline_without_evidence_is_incomplete(
    candidate: MakeCandidate, elsewhere: Path
) -> None:
    te_matrix("report", "--releases", "2.9,2.20.2", "--report", "before")
    candidate("2.20.2", "2.21.0.dev0")
    result = gate("--against", "before/report.json")
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "the baseline has no evidence for it" in result.output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--against", ""], "--against names nothing"),
        (["--against", "nosuch"], "nosuch is neither a store nor a release nor a report.json"),
        (["--policy", "no-regression"], "needs a baseline"),
    ],
)
def test_usage(candidate: MakeCandidate, words: list[str], complaint: str) -> None:
    candidate("2.20.2", "2.21.0.dev0")
    result = gate(*words)
    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.output


def test_the_policy_needs_a_candidate() -> None:
    result = te_matrix("gate", *FEW, "--policy", "baseline")
    assert result.exit_code == ExitCode.USAGE
    assert "there is no candidate" in result.output


def test_live_evidence_is_demanded_of_what_is_the_same(candidate: MakeCandidate) -> None:
    name = candidate("2.20.2", "2.21.0.dev0")
    result = gate("--require-live")
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "rests on recorded evidence; live evidence is required" in result.output
    assert f"{name} against 2.20.2: not decided" in result.output


def test_every_output_names_candidate_and_baseline(
    candidate: MakeCandidate, elsewhere: Path
) -> None:
    name = candidate("2.17.1", "2.17.2")
    words = ["--summary", "s.md", "--badge", "b.svg", "--junit", "j.xml"]
    assert gate("--against", "2.17", *words).exit_code == ExitCode.DEVIATES
    summary = (elsewhere / "s.md").read_text()
    assert summary.startswith(
        f"# FP8 checkpoint compatibility: {name} against 2.17: not qualified\n"
    )
    assert "deviates" not in summary
    label = ET.parse(elsewhere / "b.svg").getroot().attrib["aria-label"]
    assert label == f"FP8 checkpoints: {name} against 2.17: not qualified (cpu)"
    cases = {case.attrib["name"] for case in ET.parse(elsewhere / "j.xml").getroot()[0]}
    assert f"control/autocast/{name}/own" in cases
    assert f"save/autocast/{name}" in cases
    assert not any("->" in case and name not in case for case in cases)


def test_the_report_says_first_what_the_gate_says(
    candidate: MakeCandidate, elsewhere: Path
) -> None:
    name = candidate("2.20.2", "2.21.0.dev0")
    done = te_matrix("report", "--candidate", "tree", *FEW, "--report", "r")
    assert done.exit_code == 0, done.output
    data = json.loads((elsewhere / "r" / "report.json").read_text())
    assert data["exit_code"] == 0
    assert data["qualification"]["matches"][0]["baseline"] == "2.20.2"
    text = (elsewhere / "r" / "report.md").read_text()
    assert text.startswith(f"# Checkpoint compatibility of Transformer Engine: {name} against")
    assert "## The same as before" in text
    page = (elsewhere / "r" / "index.html").read_text()
    first = page[page.index("<body>") : page.index("<main>")]
    assert f"{name} against 2.20.2: qualified" in first
    assert "deviate" not in first


def test_against_is_for_candidates() -> None:
    result = te_matrix("report", *FEW, "--against", "2.17")
    assert result.exit_code == ExitCode.USAGE


def test_the_plugin_says_what_the_gate_says(
    pytester: pytest.Pytester, candidate: MakeCandidate
) -> None:
    name = candidate("2.17.1", "2.17.2")
    te_matrix("report", "--candidate", "tree", *FEW, "--report", "r")
    report = ["--te-matrix", str(pytester.path / "r" / "report.json")]
    result = pytester.runpytest_inprocess(*report, "--te-matrix-baseline", "2.17")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*autocast/plain/2.9->{name}: worse: loaded -> error*"])
    whole = pytester.runpytest_inprocess(*report)
    assert whole.ret == pytest.ExitCode.OK
