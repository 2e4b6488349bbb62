"""Rule: the gate's exit code, what pipelines show of it, and how the ledger grows."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from helpers.builders import FAQ_SCENARIOS, a_cell, a_report, with_message
from matrix.catalogue import releases, tables
from matrix.cli import main
from matrix.errors import ExitCode
from matrix.gate import accept, outputs, policies
from matrix.gate.policies import Check, CheckState, Policy
from matrix.judge import ledger
from matrix.store import recorded

ORDER = releases.order([])
PAIR = ["--releases", "1.8-2.0", "--variant", "plain"]
STORY = ["--owner", "them", "--cause", "base.py", "--reference", "#1", "--advice", "none"]
STORY += ["--expires", "2027-06-01"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Take the entries whose id begins so out of the packaged ledger."""
    packaged = tables.packaged

    def forget(beginning: str) -> None:
        head, *entries = packaged("ledger.toml").read_text().split("[[entry]]")
        kept = [one for one in entries if not one.startswith(f'\nid = "{beginning}')]
        assert len(kept) < len(entries)
        path = tmp_path / "short.toml"
        path.write_text("[[entry]]".join([head, *kept]))
        monkeypatch.setattr(
            tables, "packaged", lambda name: path if name == "ledger.toml" else packaged(name)
        )

    return forget


def te_matrix(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def gate(*words: str) -> Result:
    return te_matrix("gate", "--today", "2026-11-24", *words)


def test_what_the_gate_says_is_what_the_report_says(forgetful: Callable[[str], None]) -> None:
    words = ["--releases", "1.7-2.0,2.16-2.17.1", "--scenario", FAQ_SCENARIOS, "--variant", "all"]
    for forget in (None, "no-recipe"):
        if forget:
            forgetful(forget)
        report = json.loads(te_matrix("report", "--json", "--today", "2026-11-24", *words).output)
        assert gate(*words).exit_code == report["exit_code"] == (1 if forget else 0)


def test_a_deviation_that_the_ledger_knows_passes_unless_documented_is_asked() -> None:
    result = gate(*PAIR)
    assert result.exit_code == ExitCode.OK, result.output
    assert "policy ledger, exit code 0" in result.output
    result = gate(*PAIR, "--policy", "documented")
    assert result.exit_code == ExitCode.DEVIATES
    assert "7 checks: documented loaded, error: KeyError at load_state_dict: 'recipe'" in (
        result.output
    )
    assert "autocast/plain: 1.8-1.14 -> 2.0" in result.output


def test_lane_and_live_are_demanded() -> None:
    result = gate(*PAIR, "--require-lane", "gpu", "--allow-missing")
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "measured on lane cpu; lane gpu is required" in result.output
    result = gate(*PAIR, "--require-live", "--allow-missing")
    assert result.exit_code == ExitCode.INCOMPLETE
    assert "rests on recorded evidence; live evidence is required" in result.output


def test_no_regression_against_a_report(elsewhere: Path, forgetful: Callable[[str], None]) -> None:
    te_matrix("report", *PAIR, "--report", "before")
    forgetful("no-recipe")
    assert gate(*PAIR).exit_code == ExitCode.DEVIATES
    lost = gate(*PAIR, "--policy", "no-regression", "--baseline", "before/report.json")
    assert lost.exit_code == ExitCode.DEVIATES
    te_matrix("report", *PAIR, "--report", "after")
    words = ["--policy", "no-regression", "--baseline", "after/report.json"]
    assert gate(*PAIR, *words).exit_code == ExitCode.OK


def test_what_the_baseline_lacks_is_held_to_the_ledger(
    elsewhere: Path, forgetful: Callable[[str], None]
) -> None:
    forgetful("no-recipe")
    te_matrix("report", "--releases", "1.8-1.13,2.0", "--report", "before")
    result = gate(*PAIR, "--policy", "no-regression", "--baseline", "before/report.json")
    assert result.exit_code == ExitCode.DEVIATES
    assert "autocast/plain: 1.14 -> 2.0" in result.output
    assert "1 check: documented loaded, error: KeyError" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ["--policy", "no-regression"],
        ["--baseline", "x.json"],
        ["--policy", "nosuch"],
        ["--policy", "no-regression", "--baseline", "gone"],
        ["--ledger", "gone.toml"],
    ],
)
def test_usage(words: list[str]) -> None:
    assert gate(*PAIR, *words).exit_code == ExitCode.USAGE


def test_every_output(elsewhere: Path, forgetful: Callable[[str], None]) -> None:
    forgetful("no-recipe")
    words = ["--junit", "out/j.xml", "--code-quality", "out/q.json"]
    words += ["--summary", "out/s.md", "--badge", "out/b.svg"]
    assert gate(*PAIR, *words).exit_code == ExitCode.DEVIATES
    suite = ET.parse(elsewhere / "out/j.xml").getroot()[0]
    failed = [case.attrib["name"] for case in suite if case.find("failure") is not None]
    assert "autocast/plain/1.8->2.0" in failed
    issues = json.loads((elsewhere / "out/q.json").read_text())
    assert len(issues) == len(failed) == 7
    assert {issue["severity"] for issue in issues} == {"critical"}
    assert len({issue["fingerprint"] for issue in issues}) == 7
    assert "# FP8 checkpoint compatibility: not qualified" in (elsewhere / "out/s.md").read_text()
    assert "not qualified (cpu)" in ET.parse(elsewhere / "out/b.svg").getroot().attrib["aria-label"]


def test_an_output_that_cannot_be_written(elsewhere: Path) -> None:
    (elsewhere / "file").write_text("")
    result = gate(*PAIR, "--badge", "file/b.svg")
    assert result.exit_code == ExitCode.INFRA
    assert "file/b.svg cannot be written" in result.output


def test_github_is_told_where_it_runs(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "::error" not in gate(*PAIR, "--policy", "documented").output
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(elsewhere / "summary.md"))
    (elsewhere / "summary.md").write_text("before\n")
    output = gate(*PAIR, "--policy", "documented").output
    assert "::error title=te-matrix%3A 7 failed checks::documented loaded, error" in output
    assert (elsewhere / "summary.md").read_text().startswith("before\n# FP8 checkpoint")


def test_a_hostile_message_is_text_everywhere(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "x\n::set-output name=a::b\r\n</failure>|`<script>%0A"
    forged = with_message(elsewhere / "evidence", hostile)
    monkeypatch.setattr(recorded, "evidence", lambda lane: forged)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(elsewhere / "summary.md"))
    output = gate(*PAIR, "--junit", "j.xml").output
    assert [line for line in output.splitlines() if line.startswith("::set-output")] == []
    assert "%0A" in next(line for line in output.splitlines() if line.startswith("::error"))
    assert "&lt;script>" in (elsewhere / "summary.md").read_text()
    ET.parse(elsewhere / "j.xml")


def test_annotations_are_as_many_as_github_shows() -> None:
    checks = [
        Check(str(number), CheckState.FAIL, ExitCode.DEVIATES, f"reason {number}")
        for number in range(30)
    ]
    found = outputs.group_failures(checks)
    assert len(list(outputs.workflow_commands(found, ORDER))) == outputs.MAX_ANNOTATIONS


# The ledger grows by `ledger accept`, and by nothing else.


def test_accepted_deviations_pass_the_gate(
    elsewhere: Path, forgetful: Callable[[str], None]
) -> None:
    forgetful("no-recipe")
    everything = ["--releases", "all", "--scenario", FAQ_SCENARIOS, "--variant", "all"]
    assert gate(*everything).exit_code == ExitCode.DEVIATES
    done = te_matrix("ledger", "accept", "*", "--id", "mine", "--into", "mine.toml", *STORY,
                     *everything, "--today", "2026-11-24")  # fmt: skip
    assert done.exit_code == 0, done.output
    again = gate(*everything, "--ledger", "mine.toml")
    assert again.exit_code == ExitCode.OK, again.output
    mine = ledger.load(elsewhere / "mine.toml")
    assert {entry.accepted_by for entry in mine} == {"them"}
    assert {entry.fragment for entry in mine} == {"'recipe'"}
    assert ("1.0-1.14", "2.0-2.3", ("autocast",)) in {
        (entry.saved_by, entry.loaded_by, entry.scenarios) for entry in mine
    }


def test_entries_are_printed_for_review_and_appended_only_where_asked(
    elsewhere: Path, forgetful: Callable[[str], None]
) -> None:
    forgetful("no-recipe")
    before = {path.name for path in elsewhere.iterdir()}
    packaged = tables.packaged("ledger.toml").read_text()
    words = ["ledger", "accept", "autocast/plain/1.8->2.0", *STORY, *PAIR]
    printed = te_matrix(*words, "--id", "one").output
    assert {path.name for path in elsewhere.iterdir()} == before
    assert 'saved_by = "1.8"\nloaded_by = "2.0"\n' in printed
    assert te_matrix(*words, "--id", "one", "--into", "l.toml").exit_code == 0
    assert (elsewhere / "l.toml").read_text() == printed
    overlapping = te_matrix(*words, "--id", "two", "--into", "l.toml")
    assert overlapping.exit_code == ExitCode.USAGE
    assert "know the same deviation of autocast/plain/1.8->2.0" in overlapping.output
    twice = te_matrix(*words, "--id", "one", "--into", "l.toml")
    assert (twice.exit_code, "is called one" in twice.output) == (ExitCode.USAGE, True)
    assert (elsewhere / "l.toml").read_text() == printed
    assert tables.packaged("ledger.toml").read_text() == packaged


@pytest.mark.parametrize("field", ["--owner", "--cause", "--reference", "--advice", "--expires"])
@pytest.mark.parametrize("empty", [True, False])
def test_nothing_of_the_story_can_be_left_out(field: str, empty: bool) -> None:
    words = list(STORY)
    place = words.index(field)
    if empty:
        words[place + 1] = " "
    else:
        del words[place : place + 2]
    result = te_matrix("ledger", "accept", "*", "--id", "a", *words)
    assert result.exit_code == ExitCode.USAGE
    assert field in result.output


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("autocast/plain/1.8->2.9", "matches no cell that deviates unknown to the ledger"),
        ("autocast/plain/1.8->1.11", "Did you mean autocast/plain/1.8->2.0"),
    ],
)
def test_only_what_deviates_can_be_accepted(
    forgetful: Callable[[str], None], pattern: str, complaint: str
) -> None:
    forgetful("no-recipe")
    result = te_matrix("ledger", "accept", pattern, "--id", "a", *STORY, *PAIR)
    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.output


@pytest.mark.parametrize(
    ("loader", "outcome", "complaint"),
    [("2.5", "partial", "never excused"), ("2.5@aaaaaaaa", "error", "is a candidate's")],
)
def test_what_no_entry_can_excuse(loader: str, outcome: str, complaint: str) -> None:
    report = a_report(a_cell("2.4", loader, outcome))
    rows = [r.model_copy(update={"candidate": "@" in r.name}) for r in report.releases]
    with pytest.raises(accept.UsageError, match=complaint):
        accept.select_cells(report.model_copy(update={"releases": tuple(rows)}), ["*"])


def test_an_entry_knows_exactly_the_cells_it_was_made_of() -> None:
    """A corner is missing, so that no one rectangle holds them; the message has everything."""
    hostile = 'say "no"\n\\ \x7f\x00 \u2028 é'
    pairs = [("2.3", "2.3"), ("2.3", "2.5"), ("2.5", "2.3")]
    cells = [a_cell(*pair, "error", error_message=hostile) for pair in pairs]
    cells.append(a_cell("2.5", "2.5"))
    justification = accept.justify(
        id="x", cause="c", owner="o", reference="r", advice="a", expires="2027-01-01"
    )
    found = accept.entries(cells[:3], justification, ORDER)
    assert [entry.id for entry in found] == ["x", "x-2"]
    everyone = releases.load().releases
    covered = {
        (saver.name, loader.name)
        for entry in found
        for saver in filter(entry.saves, everyone)
        for loader in filter(entry.loads, everyone)
    }
    assert covered == set(pairs)
    assert tables_read(accept.text(found)) == tuple(found)


def tables_read(text: str) -> tuple[ledger.LedgerEntry, ...]:
    path = Path("read.toml")
    path.write_text(text, encoding="utf-8")
    return ledger.load(path)


def test_frozen_and_default_at_once_need_two_entries() -> None:
    cell = a_cell("2.3", "2.5", "defaults", after_load="frozen")
    justification = accept.justify(
        id="x", cause="c", owner="o", reference="r", advice="a", expires="2027-01-01"
    )
    assert [e.observed for e in accept.entries([cell], justification, ORDER)] == [
        "defaults",
        "frozen",
    ]


def test_the_ledger_is_listed() -> None:
    rows = json.loads(te_matrix("ledger", "--json").output)
    assert [row["id"] for row in rows] == [entry.id for entry in ledger.load()]
    assert re.search(r"^pickle-guard +error ", te_matrix("ledger").output, re.MULTILINE)


def test_two_ledgers_cannot_have_one_id(elsewhere: Path) -> None:
    (elsewhere / "mine.toml").write_text(tables.packaged("ledger.toml").read_text())
    result = gate(*PAIR, "--ledger", "mine.toml")
    assert result.exit_code == ExitCode.USAGE
    assert "mine.toml: more than one entry is called frozen" in result.output


def test_a_policy_is_pure() -> None:
    report = a_report(a_cell("2.4", "2.5", "error"))
    assert policies.checks(report, Policy(), ORDER) == policies.checks(report, Policy(), ORDER)
