"""Rule: however often a run is killed, nothing finished is lost, and nothing done twice.

The long form is ``nox -s powercuts``.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tools import powercuts


def test_some_cuts_and_a_torn_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powercuts, "EVERY", 4)
    cuts = powercuts.Cuts(powercuts.Bench(tmp_path, real=False), random.Random(8))
    cuts.go_on(8)
    assert cuts.cuts == 8
    assert cuts.torn >= 1
    assert cuts.finished >= 1


def test_a_record_that_is_measured_again_is_noticed(tmp_path: Path) -> None:
    bench = powercuts.Bench(tmp_path, real=False)
    cuts = powercuts.Cuts(bench, random.Random(0))
    bench.finish(bench.start())
    before = bench.records()
    path = Path(next(iter(before)))
    path.write_bytes(path.read_bytes())
    with pytest.raises(powercuts.Violation, match="lost or measured again"):
        cuts._check_end(bench.finish(bench.start()), before)
    path.unlink()
    with pytest.raises(powercuts.Violation, match="lost or measured again"):
        cuts._check_end(bench.finish(bench.start()), before)
