"""Rule: every reader of what others wrote refuses by name; a few inputs of each, without atheris.

`nox -s fuzz` looks for more.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fuzz import altering, worker
from helpers.builders import a_plan
from matrix.plan.evidence_index import pairs

TARGETS = sorted(
    path.stem
    for path in (Path(__file__).parents[1] / "fuzz").glob("[a-z]*.py")
    if path.stem != "altering"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_a_few_alterations_are_read_or_refused(name: str) -> None:
    target = importlib.import_module(f"fuzz.{name}")
    seeds = list(target.seeds())
    assert len(seeds) > 1
    for seed in seeds:
        target.one(seed)
    for number in range(40):
        target.one(b"\0%d" % number)


GOOD, _FAILED, _SILENT = worker.CONVERSATIONS


def said(number: int, **answer: Any) -> list[Any]:
    """The good conversation, one answer of which holds something else."""
    message = GOOD[number] | {"answer": GOOD[number]["answer"] | answer}
    return [*GOOD[:number], message, *GOOD[number + 1 :]]


def kept(conversation: list[Any]) -> tuple[int, list[str]]:
    """Return how many records came of it, and why the others did not."""
    store = worker.talked(altering.lines(json.dumps(conversation).encode()))
    failed = [attempt for found in store.attempts().values() for attempt in found]
    return len(store.saves()) + len(store.loads()), [attempt.message for attempt in failed]


WHOLE = 1 + len(pairs(a_plan(["1.8"], ["1.8"])))


def test_a_good_worker_is_believed() -> None:
    assert kept(GOOD) == (WHOLE, [])


@pytest.mark.parametrize(
    ("number", "answer", "lost", "complaint"),
    [
        (1, {"state_digest": None}, WHOLE, "state_digest"),
        (1, {"keys": ["a"]}, WHOLE, "keys: Input should be a valid dictionary"),
        (3, {"sites": [{"path": "x"}]}, 1, "sites.0.name: Field required"),
        (3, {"stage": "later"}, 1, "stage"),
        (3, {"error": {"type": "E"}}, 1, "message"),
        (3, {"missing_keys": None}, 1, "missing_keys: Input should be a valid tuple"),
    ],
)
def test_an_answer_that_is_no_evidence_costs_its_own_cell(
    number: int, answer: Any, lost: int, complaint: str
) -> None:
    count, (message, *_more) = kept(said(number, **answer))
    assert count == WHOLE - lost
    assert re.search(complaint, message, re.DOTALL), message


def test_a_greeting_that_leaves_out_its_pytorch_is_no_evidence() -> None:
    hello = {name: value for name, value in GOOD[0].items() if name != "torch"}
    count, (message, *_more) = kept([hello, *GOOD[1:]])
    assert count == 0
    assert re.search("torch: Field required", message)
