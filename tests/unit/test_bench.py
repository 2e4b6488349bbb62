"""Rule: what the benches measure is a run that goes through."""

from __future__ import annotations

from pathlib import Path

import bench_growth
from matrix.store.store import Store
from synthetic import a_plan


def test_the_runner_that_answers_at_once_answers_everything(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = a_plan(3)
    bench_growth.run(made, store)
    assert len(store.saves()) == 3
    assert store.loads()
    assert store.attempts() == {}
