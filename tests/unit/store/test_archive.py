"""Rule: an exported file is read whole, or refused with the line that is wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.builders import a_load, a_save
from matrix.catalogue.words import Lane
from matrix.errors import StoreError
from matrix.plan.cells import Plan
from matrix.store import recorded
from matrix.store.archive import Archive, write
from matrix.store.recorded import Recorded
from matrix.store.records import Failure

MakePlan = Callable[..., Plan]


@pytest.fixture
def path(tmp_path: Path, make_plan: MakePlan) -> Path:
    plan = make_plan(["1.8"], ["1.11"])
    save = a_save(plan, "1.8")
    made = tmp_path / "evidence.jsonl"
    write(made, [save, a_load(plan, save, "1.11")], "2026-11-24")
    return made


def test_it_comes_back(path: Path, make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    save = a_save(plan, "1.8")
    archive = Archive(path)
    assert archive.saves(save.key) == [save]
    assert len(archive.records()) == 2
    assert archive.loads("nothing") == []


def test_a_repetition_is_found_without_parsing(path: Path, make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    save, archive = a_save(plan, "1.8"), Archive(path)
    load = a_load(plan, save, "1.11")
    elsewhere = load.provenance.model_copy(update={"torch": "2.4.1", "seconds": 9.0})
    assert archive.repeats(load.key, load.model_copy(update={"provenance": elsewhere}))
    assert archive.repeats(save.key, save)
    assert not archive.repeats(load.key, a_load(plan, save, "1.11", digest="another"))
    assert not archive.repeats("nothing", load)


def test_two_records_of_a_key_are_no_repetition(tmp_path: Path, make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    both = [a_load(plan, a_save(plan, "1.8"), "1.11", digest=digest) for digest in ("a", "b")]
    write(tmp_path / "two.jsonl", both, "2026-11-24")
    assert not Archive(tmp_path / "two.jsonl").repeats(both[0].key, both[0])


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_compressed_it_is_the_same_bytes_each_time(
    tmp_path: Path, make_plan: MakePlan, suffix: str
) -> None:
    save = a_save(make_plan(["1.8"], ["1.11"]), "1.8")
    one, other = (tmp_path / f"{name}.jsonl.{suffix}" for name in "ab")
    for path in (one, other):
        write(path, [save], "2026-11-24")
    assert one.read_bytes() == other.read_bytes()
    assert Archive(one).records() == [save]


def test_recorded_evidence_is_found_by_scenario(tmp_path: Path, make_plan: MakePlan) -> None:
    """A scenario's file is read when something of it is asked for, and no other one."""
    plan = make_plan(["1.8"], ["1.11"])
    save = a_save(plan, "1.8")
    load = a_load(plan, save, "1.11")
    recorded.write_evidence(tmp_path, [save, load], "2026-11-24")
    (tmp_path / "linear.jsonl.xz").write_bytes(b"damaged")
    kept = Recorded(tmp_path)
    assert kept.saves("autocast", save.key) == [save]
    assert kept.loads("autocast", load.key) == [load]
    assert kept.loads("layernorm", load.key) == []
    with pytest.raises(StoreError, match=r"linear.jsonl.xz cannot be read"):
        kept.saves("linear", save.key)


def test_a_line_of_another_layout_is_found_by_its_key(path: Path, make_plan: MakePlan) -> None:
    """Of lines as this program writes them the key is cut out; others are parsed."""
    save = a_save(make_plan(["1.8"], ["1.11"]), "1.8")
    spaced = [
        json.dumps(json.loads(line), sort_keys=True) for line in path.read_text().split("\n")[:-1]
    ]
    path.write_text("\n".join(spaced) + "\n")
    assert Archive(path).saves(save.key) == [save]


def test_a_message_may_hold_any_line_separator(tmp_path: Path, make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    error = Failure(type="KeyError", message="a\nb\u2028c\x85d\r\ne")
    load = a_load(plan, a_save(plan, "1.8"), "1.11", error=error)
    write(tmp_path / "evidence.jsonl", [load], "2026-11-24")
    assert Archive(tmp_path / "evidence.jsonl").records() == [load]


def edited(path: Path, edit: Callable[[list[str]], list[str]]) -> Path:
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    return path


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        (lambda lines: lines[1:], ":1 is not the header"),
        (lambda lines: lines[:-1], ":3 is not a footer"),
        (lambda lines: [*lines[:2], *lines[1:]], ":5 is not a footer"),
        (lambda lines: [lines[0], *lines[2:]], ":3 is not a footer that counts"),
        (lambda lines: [lines[0], '{"x": 1}', *lines[2:]], ":2 is not a record"),
        (lambda lines: [lines[0], lines[1][:50], *lines[2:]], ":2 is not a record"),
        (lambda lines: ["[]", *lines[1:]], ":1 is not an object"),
        (lambda lines: ["[" * 100_000, *lines[1:]], ":1 is not JSON"),
        (lambda lines: [lines[0], "[" * 100_000, *lines[2:]], ":2 is not a record"),
        (lambda lines: [lines[0], '{"key": []}', *lines[2:]], ":2 is not a record"),
        (lambda lines: [lines[0].replace(":2,", ':"2",'), *lines[1:]], ":1 has format 2;"),
        (lambda lines: [], ":1 is not JSON"),
    ],
)
def test_a_damaged_file_is_refused_by_line(
    path: Path, edit: Callable[[list[str]], list[str]], complaint: str
) -> None:
    with pytest.raises(StoreError, match=complaint):
        Archive(edited(path, edit))


def test_a_doubled_line_is_refused(path: Path) -> None:
    def double(lines: list[str]) -> list[str]:
        footer = json.dumps({"records": len(lines) - 1})
        return [*lines[:-1], lines[1], footer]

    with pytest.raises(StoreError, match=r"evidence.jsonl:4 repeats an earlier line"):
        Archive(edited(path, double))


def test_a_newer_format_is_refused(path: Path) -> None:
    def newer(lines: list[str]) -> list[str]:
        return [json.dumps(json.loads(lines[0]) | {"format": 99}), *lines[1:]]

    with pytest.raises(StoreError, match=":1 has format 99"):
        Archive(edited(path, newer))


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_a_file_that_is_not_compressed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"evidence.jsonl.{suffix}"
    path.write_bytes(b"plain")
    with pytest.raises(StoreError, match="cannot be read"):
        Archive(path)


def test_a_torn_gzip(tmp_path: Path) -> None:
    path = tmp_path / "evidence.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(StoreError, match="cannot be read"):
        Archive(path)


def test_recorded_checkpoints_match_their_digests() -> None:
    names = list((recorded.folder(Lane.CPU) / "checkpoints").iterdir())
    assert names
    for path in names:
        assert recorded.checkpoint(Lane.CPU, path.name.removesuffix(".pt.gz"))


def test_a_recorded_checkpoint_that_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "folder", lambda lane: tmp_path / lane)
    path = tmp_path / "cpu" / "checkpoints" / f"{'0' * 64}.pt.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b"other"))
    with pytest.raises(StoreError, match="does not match its digest"):
        recorded.checkpoint(Lane.CPU, "0" * 64)
    assert recorded.checkpoint(Lane.CPU, "1" * 64) is None
