"""Rule: the bench's loads in an interpreter each are loads, whatever the worker asks for."""

from __future__ import annotations

from bench import run


def test_a_load_in_a_fresh_interpreter() -> None:
    assert run.one_process_per_pair(run.fetched(["1.11", "2.17.1"]), 2) > 0
