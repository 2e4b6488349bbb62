"""Rule: a worker that misbehaves costs its cell alone, which is infra and named as what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.planting import Anywhere, a_worker
from helpers.running import Bench
from matrix.errors import ExitCode, RunnerError
from matrix.judge.judgement import Judgement
from matrix.lane import local, process
from matrix.lane.local import LocalRunner

LOADER = "2.10"
GOOD = "2.9"

LOADS = {
    "1.9": ("crash", "is lost: it ended: killed by signal 6"),
    "1.10": ("segfault", "is lost: it ended: killed by signal 11"),
    "1.11": ("out_of_memory", "killed by signal 9, as the kernel does when memory runs out"),
    "1.12": ("say_nothing_and_end", "is lost: it ended: exit status 0"),
    "1.13": ("hang", "is lost: it did not answer: timed out"),
    "2.1": ("trickle", "is lost: it did not answer: timed out"),
    "2.2": ("half_a_line", "is lost: it did not answer in JSON"),
    "2.3": ("no_json", "is lost: it did not answer in JSON"),
    "2.4": ("flood", "is lost: it answered more than 16 MiB in one line"),
    "2.5": ("answer_another", "is lost: it answered request"),
    "2.6": ("answer_with_nothing", "is lost: it answered neither with an answer"),
    "2.7": ("answer_without_sites", "answered what is no answer: parts: Field required"),
    "2.8": ("answer_with_a_foreign_stage", "answered what is no answer: stage: Input should be"),
    "2.11": ("fail_without_words", "is lost: it answered neither with an answer"),
}
SAVES = {
    "2.12": ("segfault", "is lost: it ended: killed by signal 11"),
    "2.13": ("half_a_line", "is lost: it did not answer in JSON"),
    "2.14": ("save_no_file", "answered what is no answer: FileNotFoundError"),
}
HELLOS = {
    "2.15": ("speak_another_protocol", "speaks protocol 2, not 1"),
    "2.16": ("lie_about_its_release", "asked to be 2.16 says it is 9.9"),
    "2.17": ("import_another", "imported /usr/lib/transformer_engine"),
    "1.4": ("not_say_what_it_is", "does not say what it is: release: Field required"),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judgement]:
    """One run in which almost every cell of a loader meets another misbehaviour."""
    folder = tmp_path_factory.mktemp("misbehaviour")
    loads = {f"{saver}->{LOADER}": row for saver, row in LOADS.items()}
    loads[f"{GOOD}->{LOADER}"] = ("babble", "")
    told = {
        operation: {who: name for who, (name, _said) in rows.items()}
        for operation, rows in (("load", loads), ("save", SAVES), ("hello", HELLOS))
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "GRACE", 1.0)
        patch.setattr(local, "WORKER", a_worker(folder / "worker", told))
        bench = Bench(folder)
        made = bench.plan([*LOADS, *SAVES, GOOD], [LOADER, GOOD, *HELLOS])
        host = LocalRunner(folder / "logs")
        bench.run(made, timeout=1.0, host=host, sources=Anywhere(folder))
    yield bench.judge(made, with_recorded=False)


def cells(judged: Judgement, loader: str) -> dict[str, tuple[str, str]]:
    return {
        v.cell.saved_by: (v.outcome, v.note) for v in judged.verdicts if v.cell.loaded_by == loader
    }


@pytest.mark.parametrize("saver", LOADS)
def test_in_place_of_a_load(judged: Judgement, saver: str) -> None:
    outcome, note = cells(judged, LOADER)[saver]
    assert outcome == "infra"
    assert LOADS[saver][1] in note
    (lacking,) = {
        v.lacking for v in judged.verdicts if (v.cell.saved_by, v.cell.loaded_by) == (saver, LOADER)
    }
    assert lacking == ""


@pytest.mark.parametrize("saver", SAVES)
def test_in_place_of_a_save(judged: Judgement, saver: str) -> None:
    for loader in (LOADER, GOOD):
        outcome, note = cells(judged, loader)[saver]
        assert outcome == "infra"
        assert SAVES[saver][1] in note


@pytest.mark.parametrize("loader", HELLOS)
def test_at_the_start(judged: Judgement, loader: str) -> None:
    lacking = {v.cell.saved_by: v.lacking for v in judged.verdicts if v.cell.loaded_by == loader}
    for saver, (outcome, note) in cells(judged, loader).items():
        assert outcome == "infra"
        assert lacking[saver] == ("" if saver in SAVES else loader)
        assert (SAVES[saver] if saver in SAVES else HELLOS[loader])[1] in note


def test_whoever_behaves_is_believed(judged: Judgement) -> None:
    """100 MB on standard output are no misbehaviour: they go to the log."""
    assert cells(judged, LOADER)[GOOD] == ("loaded", "")
    assert {cells(judged, GOOD)[saver][0] for saver in (*LOADS, GOOD)} == {"loaded"}


def test_no_misbehaviour_is_an_error_and_the_totals_add_up(judged: Judgement) -> None:
    assert "error" not in {v.outcome for v in judged.verdicts}
    assert sum(judged.totals.values()) == len(judged.plan.cells)
    assert judged.exit_code == ExitCode.INFRA


def test_a_server_that_does_not_start_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, in one sentence that names its log, and with no attempt noted for any cell."""
    worker = tmp_path / "worker"
    worker.mkdir()
    (worker / "__main__.py").write_text("raise SystemExit('no PyTorch here')\n")
    monkeypatch.setattr(local, "WORKER", worker)
    bench = Bench(tmp_path)
    made = bench.plan([GOOD, LOADER], [GOOD, LOADER])
    host = LocalRunner(tmp_path / "logs")
    with pytest.raises(RunnerError, match=r"could not be started.*host\.log"):
        bench.run(made, host=host, sources=Anywhere(tmp_path))
    assert "no PyTorch here" in (tmp_path / "logs" / "host.log").read_text()
    assert not bench.store.attempts()
