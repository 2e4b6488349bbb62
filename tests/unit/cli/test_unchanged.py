"""Rule: a run writes its report anew if anything that it is made from has changed, else never."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from matrix import report
from matrix.catalogue.selection import Selection
from matrix.catalogue.words import AttemptKind
from matrix.cli import main
from matrix.plan.evidence_index import pairs
from matrix.report import stamp
from matrix.store.records import Attempt
from matrix.store.store import Store
from matrix.workflow import inputs
from matrix.workflow.selecting import Request, select

SELECTION = {"releases": "2.3-2.4", "scenario": "autocast", "variant": "plain"}
WORDS = [word for name, value in SELECTION.items() for word in (f"--{name}", value)]
LEDGER = """
[[entry]]
id = "no-such-cell"
saved_by = "2.3"
loaded_by = "2.3"
scenarios = ["autocast"]
variants = ["plain"]
observed = "frozen"
cause = "set_extra_state (pytorch/module/base.py)"
reference = "none"
advice = "none"
accepted_by = "a reviewer"
expires = 2030-01-01
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Fill a store with all that a run needs; return a list of the reports that are written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))
    store = Store("store")
    store.prepare()
    evidence = select(Request(Selection(**SELECTION))).evidence
    for cell in pairs(evidence.plan):
        for known in evidence.cell(cell):
            assert known is not None
            store.add(known.records[0])
    found: list[Path] = []
    write = report.write

    def noting(*arguments: object) -> Path:
        found.append(write(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(report, "write", noting)
    return found


def run(*words: str) -> Result:
    options = ["--offline", "--store", "store", "--report", "report", "--today", "2026-01-02"]
    return CliRunner().invoke(main, ["run", *WORDS, *options, *words])


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("report").iterdir()}


def test_the_second_run_says_the_same_and_writes_nothing(written: list[Path]) -> None:
    first, before = run(), files()
    second = run()
    assert len(written) == 1
    assert files() == before
    assert before.keys() == {stamp.NAME, *stamp.FILES}
    assert "0 measured" in first.output and "as it was" in second.output
    assert first.output.splitlines()[1:] == second.output.splitlines()[1:]
    assert "4 cells planned" in second.output
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_the_exit_code_is_that_of_the_verdicts(written: list[Path]) -> None:
    assert [run("--today", "2040-01-01").exit_code for _turn in range(2)] == [1, 1]
    assert run("--today", "2040-01-01", "--no-gate").exit_code == 0
    assert len(written) == 1


def a_record(folder: str) -> Path:
    return min(Path("store", folder).iterdir())


def change_a_record() -> None:
    path = a_record("loads")
    path.write_text(path.read_text().replace('"seconds":', '"seconds":1'))


def add_an_attempt() -> None:
    attempt = Attempt(key="0" * 64, kind=AttemptKind.INFRA, message="killed", at="2026-01-01")
    Store("store").add_attempt(attempt)


def rename_a_record() -> None:
    path = a_record("saves")
    path.rename(path.with_name(path.name.replace("-local.json", "-other.json")))


def change_the_page() -> None:
    page = Path("report/index.html")
    page.write_text(page.read_text().replace("2.3", "2.5"))


def lose_a_file() -> None:
    Path("report/report.md").unlink()


def tear_the_stamp() -> None:
    path = Path("report", stamp.NAME)
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "change",
    [
        *(change_a_record, add_an_attempt, rename_a_record),
        *(change_the_page, lose_a_file, tear_the_stamp),
    ],
)
def test_evidence_or_a_file_that_changed(written: list[Path], change: Callable[[], None]) -> None:
    run()
    change()
    run()
    assert len(written) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--today", "2026-01-03"],
        ["--releases", "2.3"],
        ["--saved-by", "2.3"],
        ["--ledger", "ledger.toml"],
        ["--every-cell"],
    ],
)
def test_other_options(written: list[Path], words: list[str]) -> None:
    Path("ledger.toml").write_text(LEDGER)
    run()
    found = run(*words)
    assert len(written) == 2, found.output


def test_another_version_of_this_program(
    written: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(inputs, "shipped", SimpleNamespace(PACKAGE=tmp_path / "store"))
    run()
    assert len(written) == 2


def test_what_is_not_finished_is_tried_again(written: list[Path]) -> None:
    a_record("loads").unlink()
    for turn in (1, 2):
        assert "2 live, 2 recorded" in run().output
        assert len(written) == turn


def test_what_others_write_meanwhile_is_not_taken_for_known(written: list[Path]) -> None:
    mine, other = Store("store"), Store("store")
    mine.saves(), mine.loads(), mine.attempts()
    assert mine.content_known() == mine.content()
    path = a_record("loads")
    (record, *_) = other.loads()[path.name[:64]]
    path.unlink()
    assert mine.content_known() != mine.content()
    mine.add(record)
    assert mine.content_known() == mine.content()
    other.add(record.model_copy(update={"key": "0" * 64}))
    assert mine.content_known() != mine.content()
