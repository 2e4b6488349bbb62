"""Rule: shards cover a plan exactly, by cost; what is not all of one split is refused by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.builders import a_load, a_save
from matrix.catalogue.words import Lane
from matrix.cli import main
from matrix.errors import StoreError, UsageError
from matrix.plan import shards
from matrix.plan.cells import Plan
from matrix.plan.costs import LOAD, SAVE, Costs
from matrix.plan.evidence_index import EvidenceIndex, pairs
from matrix.store import recorded
from matrix.store.records import Manifest
from matrix.store.store import Store
from matrix.workflow.merge import merge

MakePlan = Callable[..., Plan]
NAMES = ["1.5", "1.7", "1.11", "1.12", "2.3", "2.17.1"]


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    return make_plan(NAMES, NAMES)


def unknown(plan: Plan) -> Costs:
    return Costs(EvidenceIndex(plan, None, None))


def test_every_load_is_in_one_shard_and_its_save_too(plan: Plan) -> None:
    found = [shards.split(plan, unknown(plan), number, 3) for number in (1, 2, 3)]
    counted = Counter(unit for shard in found for unit in shard.units)
    assert counted == Counter({(name, "autocast"): 1 for name in NAMES})
    assert sum(shard.manifest.cells for shard in found) == len(pairs(plan))
    assert len({shard.manifest.split for shard in found}) == 1
    for shard in found:
        assert shard.needs == {(name, "autocast") for name in NAMES}


def test_a_phase_is_split_by_what_it_does(plan: Plan) -> None:
    found = [shards.split(plan, unknown(plan), number, 2, "save") for number in (1, 2)]
    scopes = [shard.scope("save") for shard in found]
    for release in plan.releases.values():
        assert [scope.saves_with(release, "autocast") for scope in scopes].count(True) == 1
    assert not any(scope.loads for scope in scopes)
    loading = shards.split(plan, unknown(plan), 1, 2, "cross-load")
    assert not loading.scope("cross-load").saves
    assert loading.manifest.split != found[0].manifest.split


def test_the_split_is_by_cost(plan: Plan, tmp_path: Path) -> None:
    """One loader that took as long as all others together gets a shard of its own."""
    store = Store(tmp_path / "store")
    store.prepare()
    slow = plan.releases["2.3"]
    for cell in pairs(plan):
        save = a_save(plan, cell.saved_by)
        load = a_load(plan, save, cell.loaded_by, cell.variant)
        seconds = 60.0 if cell.loaded_by == slow.name else 0.1
        took = load.provenance.model_copy(update={"seconds": seconds})
        store.add(save)
        store.add(load.model_copy(update={"provenance": took}))
    costs = Costs(EvidenceIndex(plan, store, None))
    found = [shards.split(plan, costs, number, 2) for number in (1, 2)]
    assert [sorted(name for name, _s in shard.units) for shard in found] == [
        [slow.name],
        sorted(name for name in NAMES if name != slow.name),
    ]


def test_what_was_never_timed_costs_what_is_stated(plan: Plan) -> None:
    costs = unknown(plan)
    assert costs.save("autocast", plan.releases["1.7"]) == SAVE
    assert costs.load(plan.cells[0]) == LOAD
    assert costs.checkpoint("autocast", plan.releases["1.7"]) == 0


def test_recorded_durations_count(plan: Plan) -> None:
    costs = Costs(EvidenceIndex(plan, None, recorded.evidence(Lane.CPU)))
    assert costs.load(plan.cells[0]) not in (0, LOAD)
    small = costs.checkpoint("autocast", plan.releases["2.17.1"])
    assert 1_000 < small < 10_000_000


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/2", "1/2/3"])
def test_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match="is no shard.*the third of eight"):
        shards.parse(text)


def test_more_shards_than_work(plan: Plan) -> None:
    with pytest.raises(UsageError, match="cannot be split in 7.*at most 6"):
        shards.split(plan, unknown(plan), 1, 7)


def stores(folder: Path, *manifests: Manifest | None) -> list[Store]:
    found = []
    for number, manifest in enumerate(manifests):
        store = Store(folder / f"store-{number}")
        store.prepare()
        if manifest:
            store.add_manifest(manifest)
        found.append(store)
    return found


def a_manifest(shard: int, of: int = 3, split: str = "a" * 64) -> Manifest:
    return Manifest(shard=shard, of=of, split=split, cells=1)


def test_all_shards_merge_and_are_no_shard_any_more(tmp_path: Path) -> None:
    whole = Store(tmp_path / "whole")
    merge(stores(tmp_path, *(a_manifest(number) for number in (2, 3, 1))), whole)
    assert whole.manifests() == []


@pytest.mark.parametrize(
    ("manifests", "named"),
    [
        ([a_manifest(1), a_manifest(3)], "missing: shard 2/3.*Of 3 shards, 2 were given"),
        ([a_manifest(1)], "missing: shard 2/3, 3/3"),
        (
            [a_manifest(1), a_manifest(2), a_manifest(3), a_manifest(2)],
            "shard 2/3 is there twice: .*store-1 and .*store-3",
        ),
        (
            [a_manifest(1), a_manifest(2, split="b" * 64), a_manifest(3)],
            "store-1 is shard 2/3 of another split than .*store-0",
        ),
        ([a_manifest(1), a_manifest(2, of=2)], "store-1 is shard 2/2 of another split"),
        ([a_manifest(1), None], "store-1 is no finished shard, and .*store-0 is shard 1/3"),
    ],
)
def test_what_is_not_one_split_is_refused(
    manifests: list[Manifest | None], named: str, tmp_path: Path
) -> None:
    whole = Store(tmp_path / "whole")
    with pytest.raises(StoreError, match=named):
        merge(stores(tmp_path, *manifests), whole)
    assert not whole.exists()


def test_another_run_in_a_shards_store_makes_it_no_shard(tmp_path: Path) -> None:
    (store,) = stores(tmp_path, a_manifest(1))
    store.forget_manifests("a" * 64)
    assert store.manifests() == [a_manifest(1)]
    store.forget_manifests(None)
    assert store.manifests() == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--shard", "1/2", "--band", "<=1.5"], "both say what part"),
        (["--shard", "9/2"], "is no shard"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], named: str, tmp_path: Path) -> None:
    store = ["--store", str(tmp_path / "store")]
    done = CliRunner().invoke(main, ["run", *store, *words])
    assert done.exit_code == 2
    assert named in done.output
