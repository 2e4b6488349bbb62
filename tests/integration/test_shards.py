"""Rule: what shards measured apart is, merged, what one run measures."""

from __future__ import annotations

from matrix.catalogue.words import Lane
from matrix.plan import shards
from matrix.plan.costs import Costs
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.store import Store
from matrix.workflow.merge import merge


def test_merged_shards_are_the_whole_run(bench, tmp_path) -> None:
    names = ["1.11", "2.3", "2.17.1"]
    made = bench.plan(names, names, variants=("plain", "trusted"))
    bench.run(made)
    whole = bench.report(made)
    parts = []
    for number in (1, 2):
        bench.store = Store(tmp_path / f"shard-{number}")
        costs = Costs(EvidenceIndex(made, bench.store, recorded.evidence(Lane.CPU)))
        shard = shards.split(made, costs, number, 2)
        bench.run(made, scope=shard.scope(None))
        loaders = {r.release for found in bench.store.loads().values() for r in found}
        assert {name for name, _scenario in shard.units} == loaders != set(names)
        bench.store.add_manifest(shard.manifest)
        parts.append(bench.store)
    bench.store = Store(tmp_path / "merged")
    assert merge(parts, bench.store).conflicts == ()
    assert bench.report(made) == whole
    assert bench.run(made).measured == 0
