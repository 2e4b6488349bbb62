"""What a process of the worker does before it forks."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch


@pytest.fixture(autouse=True)
def collecting_again() -> Iterator[None]:
    """Undo what settling does to this process."""
    yield
    gc.unfreeze()
    gc.enable()


def test_what_was_made_is_out_of_the_collector_s_reach(worker: Any) -> None:
    worker("forking").prepare_to_fork()
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_an_interpreter_without_the_lookup_cache_settles_too(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys, "_clear_type_cache", raising=False)
    worker("forking").prepare_to_fork()
    assert gc.get_freeze_count() > 0


def test_warming_up_touches_nothing_of_transformer_engine(worker: Any) -> None:
    threads = torch.get_num_threads()
    try:
        worker("warming").warm_up()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert not [name for name in sys.modules if name.startswith("transformer_engine")]
