"""Rule: what is stored is immutable, complete, and refused by name when it is not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.builders import a_load, a_save
from matrix.errors import StoreError
from matrix.plan.cells import Plan
from matrix.store.keys import OBSERVATION
from matrix.store.records import Attempt, Load, Save
from matrix.store.store import Store

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(["1.8"], ["1.11"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.prepare()
    return made


def test_records_come_back_as_they_went_in(store: Store, plan: Plan) -> None:
    save = a_save(plan, "1.8")
    load = a_load(plan, save, "1.11")
    store.add(save)
    store.add(load)
    assert store.saves() == {save.key: [save]}
    assert store.loads() == {load.key: [load]}


def test_the_same_observation_twice_is_one_record(store: Store, plan: Plan) -> None:
    save = a_save(plan, "1.8")
    later = save.provenance.model_copy(update={"recorded_at": "2027-01-01T00:00:00+00:00"})
    store.add(save)
    store.add(save.model_copy(update={"provenance": later}))
    assert [len(records) for records in store.saves().values()] == [1]


def test_another_observation_is_kept_beside_it(store: Store, plan: Plan) -> None:
    save = a_save(plan, "1.8")
    store.add(a_load(plan, save, "1.11"))
    store.add(a_load(plan, save, "1.11", digest="another"))
    assert [len(records) for records in store.loads().values()] == [2]


def test_every_attempt_is_kept_in_order(store: Store) -> None:
    for at in ("2", "1"):
        store.add_attempt(Attempt(key="k", kind="infra", message=f"no {at}", at=at))
    assert [attempt.message for attempt in store.attempts()["k"]] == ["no 1", "no 2"]


def test_a_torn_record_is_named(store: Store, plan: Plan, tmp_path: Path) -> None:
    store.add(a_save(plan, "1.8"))
    (path,) = (tmp_path / "store" / "saves").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match=rf"record .*{path.name} cannot be read.*torn"):
        store.saves()


def test_a_foreign_record_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "loads" / "mine.json").write_text('{"hello": 1}')
    with pytest.raises(StoreError, match=r"loads/mine.json cannot be read"):
        store.loads()


def test_a_record_under_another_name_is_refused(store: Store, plan: Plan, tmp_path: Path) -> None:
    store.add(a_save(plan, "1.8"))
    (path,) = (tmp_path / "store" / "saves").iterdir()
    path.rename(path.with_name("0" * 64 + "-x.json"))
    with pytest.raises(StoreError, match="does not match its name"):
        store.saves()


def test_numbers_that_json_does_not_have_come_back(store: Store, plan: Plan) -> None:
    numbers = (float("inf"), float("-inf"), float("nan"), 0.5)
    save = a_save(plan, "1.8")
    tensor = save.parts[0].tensors["forward.scale"].model_copy(update={"first": numbers})
    part = save.parts[0].model_copy(update={"tensors": {"forward.scale": tensor}})
    store.add(save.model_copy(update={"parts": (part,)}))
    ((found,),) = store.saves().values()
    assert repr(found.parts[0].tensors["forward.scale"].first) == repr(numbers)


def test_a_newer_format_is_refused_with_a_hint(store: Store, plan: Plan) -> None:
    store.add(a_save(plan, "1.8").model_copy(update={"format": 99}))
    with pytest.raises(StoreError, match="format 99.*Use the version of te-matrix that wrote it"):
        store.saves()


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(StoreError, match="cannot be written.*Name a writable place"):
        Store(blocker / "store").prepare()


def test_what_is_left_of_a_torn_write_is_no_record(store: Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "loads" / ".part-x").write_text("{")
    assert store.loads() == {}


def test_a_record_that_cannot_be_kept_is_named(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    save = a_save(plan, "1.8")
    with pytest.raises(StoreError, match=f"saves/{save.key}.*No space left.*free space"):
        store.add(save)


def test_a_checkpoint_comes_back_by_digest(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"weights")
    digest = store.add_checkpoint(path)
    assert store.checkpoint(digest) == b"weights"
    assert store.checkpoint("0" * 64) is None


def test_a_checkpoint_that_changed_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"weights")
    digest = store.add_checkpoint(path)
    (tmp_path / "store" / "checkpoints" / f"{digest}.pt").write_bytes(b"weighty")
    with pytest.raises(StoreError, match=f"checkpoint .*{digest}.* does not match its digest"):
        store.checkpoint(digest)


def test_any_fsspec_url_serves(plan: Plan) -> None:
    store = Store("memory://bucket/store")
    store.prepare()
    save = a_save(plan, "1.8")
    store.add(save)
    assert store.saves() == {save.key: [save]}


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    assert (store.saves(), store.loads(), store.attempts()) == ({}, {}, {})


def test_the_environment_is_not_part_of_an_observation(plan: Plan) -> None:
    load = a_load(plan, a_save(plan, "1.8"), "1.11")
    elsewhere = load.provenance.model_copy(update={"torch": "2.9.0", "seconds": 9.0})
    assert load.model_copy(update={"provenance": elsewhere}).observed() == load.observed()


def test_what_an_observation_is_made_of() -> None:
    """Whoever changes a record's fields decides whether the meaning changed.

    If it did, raise ``OBSERVATION``: everything recorded is then measured again.
    """
    assert OBSERVATION == 3
    assert set(Save.model_fields) == {
        "record", "key", "format", "release", "source_digest", "scenario", "scenario_digest",
        "lane", "observation", "outcome", "error", "flaws", "state_digest", "keys", "parts",
        "file_digest", "output_digest", "provenance",
    }  # fmt: skip
    assert set(Load.model_fields) == {
        "record", "key", "format", "release", "source_digest", "saved_by", "state_digest",
        "scenario", "scenario_digest", "variant", "lane", "observation", "stage", "error",
        "missing_keys", "unexpected_keys", "changed_keys", "changed_weights", "lost_recipes",
        "parts", "after_load", "output", "provenance",
    }  # fmt: skip
