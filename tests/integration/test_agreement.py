"""Rule: of every save of a whole store, ``inspect`` says what was recorded of every load.

It takes a store with the saves and checkpoints of the whole catalogue, which no repository holds:
TE_MATRIX_AGREEMENT_STORE names one, as ``te-matrix run --releases all --scenario all`` leaves it.
"""

from __future__ import annotations

import os

import pytest

from helpers.agreement import agreement
from matrix.store.store import Store

STORE = os.environ.get("TE_MATRIX_AGREEMENT_STORE")


@pytest.mark.skipif(STORE is None, reason="TE_MATRIX_AGREEMENT_STORE names no store")
def test_every_save_of_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    assert STORE is not None
    store = Store(STORE)
    saves = [found[0] for found in store.saves().values()]
    found = agreement(saves, store.checkpoint)
    with capsys.disabled():
        print(f"\n{found.agreed} agree, untold {dict(found.untold)}, unsure {dict(found.unsure)}")
    assert found.wrong == []
    assert found.savers == []
    assert sum(found.unsure.values()) < found.agreed / 20
