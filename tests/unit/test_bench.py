"""Rule: what the benches measure is a run that goes through."""

from __future__ import annotations

from pathlib import Path

from bench import growth
from helpers.synthetic import a_plan
from matrix.store.store import Store


def test_the_runner_that_answers_at_once_answers_everything(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = a_plan(3)
    growth.run(made, store)
    assert len(store.saves()) == 3
    assert store.loads()
    assert store.attempts() == {}
