"""Rule: the command line says what is wrong in one sentence, with the right exit code."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from helpers.builders import FAQ_SCENARIOS, with_message
from matrix.catalogue import releases
from matrix.catalogue.selection import Selection
from matrix.cli import main
from matrix.cli import releases as releases_command
from matrix.errors import ExitCode, worst
from matrix.lane import asking, sources
from matrix.plan.evidence_index import EvidenceIndex
from matrix.report import document
from matrix.store import recorded
from matrix.store.records import Attempt
from matrix.store.store import Store
from matrix.workflow.selecting import Request, select


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def te_matrix(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["plan", "--releases", "2.17.3"], "no release 2.17.3. Did you mean 2.17"),
        (["plan", "--saved-by", "1.77"], "no release 1.77"),
        (["plan", "--scenario", "autocats"], "no scenario autocats. Did you mean autocast"),
        (["plan", "--variant", "plane"], "no variant plane. Did you mean plain"),
        (["plan", "--size", "tiny"], "no size tiny"),
        (["plan", "--saved-by", "1.8", "--variant", "remapped"], "holds no cell"),
        (["plan", "--loaded-by", "2.4-1.7"], "2.4-1.7 selects no release. Write 1.7-2.4"),
        (["plan", "--releases", ""], "an empty selection selects nothing"),
        (["plan", "--saved-by", ""], "an empty selection selects nothing"),
        (["plan", "--scenario", ""], "an empty selection selects nothing"),
        (["plan", "--variant", ""], "an empty selection selects nothing"),
        (["explain", "1.7", "9.9"], "no release 9.9"),
        (["explain", "1.7", ""], "the name of a release is empty"),
        (["explain", "1.7-1.9", "2.4"], "1.7-1.9 is not the name of one"),
        (["explain", "1.7", "git:main"], "`te-matrix qualify`"),
        (["explain", "./tree", "2.4"], "./tree is not the name of one"),
        (["plan", "--scenarios", "gone.toml"], "gone.toml cannot be read"),
        (["scenarios", "--scenarios", "gone.toml"], "gone.toml cannot be read"),
        (
            ["plan", "--lane", "gpu", "--runner", "docker", "--scenario", "linear"],
            "no Linear, only",
        ),
        (["plan", "--lane", "quantum"], "Invalid value for '--lane'"),
        (
            ["plan", "--candidate", "gone"],
            "gone is no candidate. There is neither a file nor a folder of that name",
        ),
        (["qualify", "2.4"], "git:v2.4"),
        (["plan", "--runner", "docker", "--base", "a b"], "--base a b is no image"),
        (["plan", "--runner", "docker", "--images-lock", "gone"], "gone cannot be read"),
        (["run", "--runner", "docker", "--memory", "lots"], "lots is no size"),
        (["run", "--band", "9"], "there is no band 9"),
        (["plan", "--candidate", "."], "is no candidate"),
        (["run", "--refresh-recorded", "--size", "faq"], "Leave out --candidate"),
        (["plan", "--store", "nosuch://bucket"], "--store nosuch://bucket cannot be used"),
    ],
)
def test_usage_errors(words: list[str], complaint: str) -> None:
    result = te_matrix(*words)
    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.output


def test_scenarios_say_which_lanes_run_them_and_why_not() -> None:
    rows = {row["name"]: row for row in json.loads(te_matrix("scenarios", "--json").output)}
    assert rows["autocast"]["lanes"] == ["cpu", "gpu"]
    assert rows["autocast"]["not_on_gpu"] == []
    nvfp4 = rows["transformer-layer.nvfp4"]
    assert (nvfp4["device"], nvfp4["capability"], nvfp4["lanes"]) == ("blackwell", "10.0", ["cpu"])
    assert [reason.split(",")[0] for reason in nvfp4["not_on_gpu"]] == [
        "it drives no TransformerLayer",
        "it trains under no NVFP4BlockScaling",
    ]
    text = te_matrix("scenarios").output
    assert all(f"{name}: {row['summary']}" in text for name, row in rows.items())
    assert "lanes: cpu; not gpu: it writes no distributed checkpoint" in text


def test_a_malformed_scenario_file_names_the_line(elsewhere: Path) -> None:
    (elsewhere / "mine.toml").write_text('[[scenario]]\nname = "Bad Name"\n')
    result = te_matrix("plan", "--scenarios", "mine.toml")
    assert result.exit_code == ExitCode.USAGE
    assert "mine.toml:2: scenario.0.name" in result.output
    assert "mine.toml:1: scenario.0.summary: Field required" in result.output


def test_a_torn_record_stops_with_its_name(elsewhere: Path) -> None:
    saves = elsewhere / "te-matrix-store" / "saves"
    saves.mkdir(parents=True)
    (saves / "abc.json").write_text('{"record": "save", "key"')
    result = te_matrix("gate")
    assert result.exit_code == ExitCode.INFRA
    assert "te-matrix-store/saves/abc.json cannot be read" in result.output


def test_a_store_that_cannot_be_written(elsewhere: Path) -> None:
    (elsewhere / "file").write_text("")
    result = te_matrix("run", "--store", "file/store")
    assert result.exit_code == ExitCode.INFRA
    assert "store file/store cannot be written" in result.output


def test_a_cache_that_cannot_be_written(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "file").write_text("")
    monkeypatch.setenv("TE_MATRIX_CACHE", str(elsewhere / "file" / "cache"))
    result = te_matrix("run")
    assert result.exit_code == ExitCode.INFRA
    assert "cache" in result.output
    assert "TE_MATRIX_CACHE" in result.output


def test_a_report_that_cannot_be_written(elsewhere: Path) -> None:
    (elsewhere / "file").write_text("")
    result = te_matrix("report", "--report", "file/report")
    assert result.exit_code == ExitCode.INFRA
    assert "report cannot be written to file/report" in result.output


@pytest.mark.parametrize("words", [("run", "--offline"), ("gate",), ("report",), ("plan",)])
def test_evidence_is_read_once(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(kind: str) -> Callable[[Store], Any]:
        real = getattr(Store, kind)
        return lambda store: read.append(kind) or real(store)

    for kind in ("saves", "loads", "attempts"):
        monkeypatch.setattr(Store, kind, counted(kind))
    te_matrix(*words, "--releases", "1.7")
    assert sorted(read) == ["attempts", "loads", "saves"]


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from commands(command)


def test_every_command_is_summed_up_in_a_line_that_the_help_shows_whole() -> None:
    for group in (main, *(one for one in commands(main) if isinstance(one, click.Group))):
        words = () if group is main else (str(group.name),)
        lines = te_matrix(*words, "--help").output.partition("\nCommands:\n")[2].splitlines()
        assert len(lines) == len(group.commands)
        for line, command in zip(lines, sorted(group.commands.values(), key=name), strict=True):
            assert command.short_help
            assert line.endswith(f"  {command.short_help}")


def name(command: click.Command) -> str:
    return str(command.name)


def test_today_means_the_same_in_every_command_that_judges() -> None:
    judging = {"bands", "diff", "explain", "gate", "judge", "accept", "qualify", "report", "run"}
    given = {
        str(command.name): option.help
        for command in commands(main)
        for option in command.params
        if option.name == "today" and not getattr(option, "hidden", False)
    }
    assert set(given) == judging
    assert set(given.values()) == {"the date that ledger entries expire by  [default: today]"}


def test_releases(elsewhere: Path) -> None:
    listed = te_matrix("releases")
    assert len(listed.output.splitlines()) == 41
    rows = json.loads(te_matrix("releases", "--json").output)
    assert [row["name"] for row in rows] == releases.load().names()
    assert rows[8]["source"] == "git v1.7"


def test_sync_with_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "published", lambda: ["2.18.0", "0.0.0"])
    assert "has every published release" in te_matrix("releases", "sync").output


def test_sync_proposes_a_row_and_says_what_the_release_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    new = releases.load()["2.20.2"].model_copy(update={"version": "2.21", "wheel": "2.21.0"})
    monkeypatch.setattr(releases, "published", lambda: ["2.21.0"])
    monkeypatch.setattr(sources, "describe", lambda _version, _wheels: new)
    monkeypatch.setattr(releases_command, "with_extension", lambda release: release)
    monkeypatch.setattr(
        asking, "asked", lambda rows: [f"{row.version}: it lacks X" for row in rows]
    )
    shown = te_matrix("releases", "sync").output
    assert shown.startswith('# 2.21: it lacks X\n[[release]]\nversion = "2.21"')
    rows = tmp_path / "rows.toml"
    assert "1 new: 2.21.0" in te_matrix("releases", "sync", "--output", str(rows)).output
    assert rows.read_text().startswith("[[release]]")


def test_plan_counts_what_is_recorded() -> None:
    output = te_matrix("plan", "--releases", "1.7,2.4").output
    assert "6 cells: 0 known live, 6 known from the recorded evidence, 0 unknown" in output
    cells = json.loads(te_matrix("plan", "--releases", "1.7,2.4", "--json").output)
    assert cells[0]["id"] == "autocast/plain/1.7->1.7"


def test_the_gate_passes_on_the_recorded_evidence() -> None:
    everything = ["--releases", "all", "--scenario", FAQ_SCENARIOS, "--variant", "all"]
    result = te_matrix("gate", *everything, "--today", "2026-11-24")
    assert result.exit_code == ExitCode.OK, result.output
    assert "13359 cells planned: 3592 conforms, 2090 known-deviation, 7677 undocumented" in (
        result.output
    )


def test_the_gate_fails_when_the_ledger_has_expired() -> None:
    result = te_matrix("gate", "--releases", "1.7", "--today", "2030-01-01")
    assert result.exit_code == ExitCode.DEVIATES
    assert "ledger entry frozen is expired" in result.output


def test_report_writes_three_files(elsewhere: Path) -> None:
    result = te_matrix("report", "--releases", "1.5,1.7,1.11,2.17.1", "--variant", "all")
    assert result.exit_code == 0, result.output
    data = document.read(elsewhere / "te-matrix-report" / "report.json")
    assert data.planned == len(data.cells) == sum(data.totals.values())
    needed = {
        "scenario", "variant", "saved_by", "loaded_by", "lane", "runner", "outcome", "after_load",
        "stage", "error_type", "error_message", "documented", "documented_reason", "verdict",
        "provenance", "measured_with",
    }  # fmt: skip
    assert all(needed <= cell.model_dump().keys() for cell in data.cells)
    assert "frozen" in (elsewhere / "te-matrix-report" / "report.md").read_text()
    assert "<!doctype html>" in (elsewhere / "te-matrix-report" / "index.html").read_text()


def test_report_and_judge_as_json() -> None:
    output = te_matrix("report", "--releases", "1.7", "--json").output
    read = document.ReportFile.model_validate_json(output).report()
    cells = json.loads(te_matrix("judge", "--releases", "1.7", "--json").output)
    assert [cell.model_dump(mode="json") for cell in read.cells] == cells


def test_the_last_runs_selection_is_taken_up(elsewhere: Path) -> None:
    store = Store(elsewhere / "te-matrix-store")
    store.prepare()
    store.remember(Selection(releases="1.6-1.7", variant="plain"))
    assert len(json.loads(te_matrix("judge", "--json").output)) == 4
    assert "4 cells planned" in te_matrix("gate").output
    assert len(json.loads(te_matrix("report", "--json").output)["cells"]) == 4
    assert len(json.loads(te_matrix("judge", "--json", "--releases", "1.7").output)) == 2


def test_a_remembered_selection_that_cannot_be_read(elsewhere: Path) -> None:
    (elsewhere / "te-matrix-store").mkdir()
    (elsewhere / "te-matrix-store" / "selection.json").write_text("{")
    result = te_matrix("gate")
    assert result.exit_code == ExitCode.INFRA
    assert "te-matrix-store/selection.json cannot be read" in result.output


def test_explain_needs_no_store() -> None:
    output = te_matrix("explain", "1.7", "2.4").output
    assert "“Loads FP8 metadata from checkpoint”" in output
    ending = "loads, but the metadata is dead: no later step updates it\n    known-deviation: "
    assert f"{ending}autocast, attention-only, transformer-layer, not-strict / plain" in output
    assert "What to do: " in output
    cells = json.loads(te_matrix("explain", "1.7", "2.4", "--json").output)
    assert cells[0]["after_load"] == "frozen"


def test_a_hostile_message_cannot_inject_markup(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "<script>alert(1)</script>|x"
    forged = with_message(elsewhere / "evidence", hostile)
    monkeypatch.setattr(recorded, "evidence", lambda lane: forged)
    te_matrix("report", "--releases", "1.7,2.20.2")
    page = (elsewhere / "te-matrix-report" / "index.html").read_text()
    assert page.count("<script") == page.count("</script") == 2
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    data = re.search(r'id="data">([A-Za-z0-9+/=]+)<', page)
    assert data and "<script>alert(1)" in gzip.decompress(base64.b64decode(data[1])).decode()
    assert "\\|x" in (elsewhere / "te-matrix-report" / "report.md").read_text()


def test_exit_codes_by_precedence() -> None:
    assert worst([]) == ExitCode.OK
    assert worst([ExitCode.INCOMPLETE, ExitCode.INFRA]) == ExitCode.INFRA
    assert worst([ExitCode.INFRA, ExitCode.DEVIATES]) == ExitCode.DEVIATES
    assert worst([ExitCode.DEVIATES, ExitCode.USAGE]) == ExitCode.USAGE


WHY = "release 2.10 cannot be imported: ModuleNotFoundError: No module named 'torch.new'"


def test_a_release_that_cannot_be_imported_is_one_line_everywhere(elsewhere: Path) -> None:
    """Its ten cells and ten controls are counted there, and listed nowhere by themselves."""
    words = [
        "--releases",
        "2.9-2.11",
        "--scenario",
        "autocast,attention-only",
        "--variant",
        "plain",
    ]
    chosen = Selection(releases="2.9-2.11", scenario="autocast,attention-only", variant="plain")
    plan = select(Request(chosen)).plan
    index, store = EvidenceIndex(plan, None, None), Store(elsewhere / "te-matrix-store")
    store.prepare()
    for name in plan.scenarios:
        key = index.save_attempt_key(name, plan.releases["2.10"])
        store.add_attempt(Attempt(key=key, kind="infra", message=WHY, lacking="2.10", at="1"))
    te_matrix("report", *words)
    printed = te_matrix("judge", *words)
    named = [line for line in printed.output.splitlines() if "2.10" in line]
    assert named == [f"infra: {WHY}: 10 cells and 10 controls without outcome"]
    text = (elsewhere / "te-matrix-report" / "report.md").read_text()
    assert text.count(WHY) == 1
    assert "| 10 | infra |" in text
    assert text.count("| 2.10 |") == 1
    page = (elsewhere / "te-matrix-report" / "index.html").read_text()
    assert page.count("<li>control") == 1
    gated = te_matrix("gate", *words, "--junit", "j.xml", "--code-quality", "q.json")
    assert gated.exit_code == ExitCode.INFRA
    assert gated.output.count(WHY) == 2, "once as judged, once as the check that fails"
    assert (elsewhere / "j.xml").read_text().count("<error") == 1
    (issue,) = json.loads((elsewhere / "q.json").read_text())
    assert issue["location"]["path"] == "release/2.10"
