"""Rule: a merge is a union; nothing is lost, nothing doubled, and the order does not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from helpers.builders import a_load, a_save
from matrix.catalogue.selection import Selection
from matrix.cli import main
from matrix.errors import StoreError, UsageError
from matrix.plan.cells import Plan
from matrix.store.records import Attempt
from matrix.store.store import Store
from matrix.workflow.merge import Merged, joined, merge

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(["1.8", "1.9"], ["1.11"])


@pytest.fixture
def a_store(tmp_path: Path) -> Callable[..., Store]:
    def make(name: str, *records: Any, selection: Selection | None = None) -> Store:
        store = Store(tmp_path / name)
        store.prepare()
        for record in records:
            store.add_attempt(record) if isinstance(record, Attempt) else store.add(record)
        if selection:
            store.remember(selection)
        return store

    return make


def objects(store: Store) -> dict[str, bytes]:
    root = Path(store.url)
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def later(record: Any) -> Any:
    moved = record.provenance.model_copy(update={"recorded_at": "2999-01-01T00:00:00+00:00"})
    return record.model_copy(update={"provenance": moved})


def test_a_merge_holds_what_every_store_held(a_store: Any, plan: Plan) -> None:
    one, two = a_save(plan, "1.8"), a_save(plan, "1.9")
    load = a_load(plan, one, "1.11")
    attempt = Attempt(key="k", kind="infra", message="no", at="1")
    into = a_store("into")
    merged = merge([a_store("a", one, load), a_store("b", two, load, attempt)], into)
    assert into.saves() == {one.key: [one], two.key: [two]}
    assert into.loads() == {load.key: [load]}
    assert into.attempts() == {"k": [attempt]}
    assert (merged.saves, merged.loads, merged.attempts, merged.conflicts) == (2, 1, 1, ())


def test_checkpoints_come_along_and_are_checked(a_store: Any, tmp_path: Path) -> None:
    source, into = a_store("a"), a_store("into")
    (tmp_path / "file").write_bytes(b"checkpoint")
    digest = source.add_checkpoint(tmp_path / "file")
    assert merge([source], into).checkpoints == 1
    assert into.checkpoint(digest) == b"checkpoint"
    assert digest == hashlib.sha256(b"checkpoint").hexdigest()
    source.put_checkpoint("0" * 64, b"torn")
    with pytest.raises(StoreError, match="does not match its digest"):
        merge([source], into)


def in_order(a_store: Any, order: Sequence[str], plan: Plan) -> Store:
    save = a_save(plan, "1.8")
    made = {
        "a": (save, a_load(plan, save, "1.11")),
        "b": (later(save), a_load(plan, save, "1.11", digest="another")),
    }
    into: Store = a_store("into-" + "".join(order))
    for name in order:
        merge([a_store(f"{name}-of-{''.join(order)}", *made[name])], into)
    return into


def test_neither_order_nor_repetition_matters(a_store: Any, plan: Plan) -> None:
    orders = ("ab", "ba", "abab", "bba")
    first, *rest = [objects(in_order(a_store, order, plan)) for order in orders]
    assert all(other == first for other in rest)
    assert len([name for name in first if name.startswith("loads")]) == 2


def test_of_the_same_observation_the_older_record_stays(a_store: Any, plan: Plan) -> None:
    save = a_save(plan, "1.8")
    into = a_store("into", later(save))
    assert merge([a_store("a", save)], into).saves == 0
    assert into.saves() == {save.key: [save]}


def test_two_observations_of_one_cell_are_both_kept_and_named(a_store: Any, plan: Plan) -> None:
    save = a_save(plan, "1.8")
    one, other = (a_load(plan, save, "1.11", digest=digest) for digest in ("one", "other"))
    into = a_store("into")
    merged = merge([a_store("a", save, one), a_store("b", save, other)], into)
    assert merged.conflicts == ("autocast/plain/1.8->1.11",)
    assert len(into.loads()[one.key]) == 2


def test_what_is_no_store_is_refused_before_anything_is_written(
    a_store: Any, plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="nowhere is no store"):
        merge([a_store("a", a_save(plan, "1.8")), Store("nowhere")], Store(tmp_path / "into"))
    assert not (tmp_path / "into").exists()


def test_selections_of_one_kind_of_run_are_joined() -> None:
    first = Selection(saved_by="2.9", loaded_by="2.9", lane="gpu")
    second = Selection(saved_by="2.9,2.17", loaded_by="2.17", lane="gpu", variant="all")
    assert joined([first, second]) == Selection(
        saved_by="2.9,2.17", loaded_by="2.9,2.17", lane="gpu", variant="all"
    )
    assert joined([Selection(), Selection(releases="2.9")]) == Selection(
        saved_by="bands,2.9", loaded_by="bands,2.9"
    )
    assert joined([first, Selection(lane="cpu")]) is None
    assert joined([]) is None


def test_the_merged_store_remembers_what_was_selected(a_store: Any) -> None:
    gpu = Selection(saved_by="2.9", loaded_by="2.9", lane="gpu")
    into = a_store("into")
    merge([a_store("a", selection=gpu)], into)
    assert into.remembered() == gpu
    merged: Merged = merge([a_store("b", selection=Selection(lane="cpu"))], into)
    assert merged.selection is None
    assert into.remembered() is None


def test_the_command_says_what_came_and_what_conflicts(
    a_store: Any, plan: Plan, tmp_path: Path
) -> None:
    save = a_save(plan, "1.8")
    one, other = (a_load(plan, save, "1.11", digest=digest) for digest in ("one", "other"))
    a_store("a", save, one, selection=Selection())
    a_store("b", save, other, selection=Selection())
    stores = [str(tmp_path / name) for name in ("a", "b")]
    done = CliRunner().invoke(main, ["merge", *stores, "--store", str(tmp_path / "into")])
    assert done.exit_code == 0
    assert "new are 1 save, 2 loads, 0 checkpoints and 0 failed attempts" in done.output
    assert "observed in more than one way, all kept: autocast/plain/1.8->1.11" in done.stderr


def test_an_exported_file_merges_like_a_store(a_store: Any, plan: Plan, tmp_path: Path) -> None:
    save = a_save(plan, "1.8")
    load = a_load(plan, save, "1.11")
    a_store("a", save, load)
    exported = tmp_path / "a.jsonl.gz"
    runner = CliRunner()
    done = runner.invoke(main, ["export", str(exported), "--store", str(tmp_path / "a")])
    assert done.output == f"{exported}: 2 records\n"
    into = tmp_path / "into"
    done = runner.invoke(main, ["merge", str(exported), "--store", str(into)])
    assert "1 save, 1 load" in done.output
    assert Store(into).loads() == {load.key: [load]}


@pytest.mark.parametrize(
    ("name", "status", "complaint"),
    [
        ("a.txt", 2, "is neither the name of an exported file nor of a new or empty folder"),
        ("a-file/a.jsonl", 4, "cannot be written"),
    ],
)
def test_a_place_that_no_export_can_be_written_to_is_refused(
    a_store: Any, plan: Plan, tmp_path: Path, name: str, status: int, complaint: str
) -> None:
    a_store("a", a_save(plan, "1.8"))
    (tmp_path / "a-file").write_text("")
    words = ["export", str(tmp_path / name), "--store", str(tmp_path / "a")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status
    assert complaint in done.stderr
