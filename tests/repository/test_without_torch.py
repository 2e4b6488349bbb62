"""Rule: reading a state dict in memory imports no PyTorch; a training script has its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import io, sys, warnings
from matrix.doctor import CheckpointWarning, check, repair
state = {"core_attention._extra_state": io.BytesIO(b"damaged"), "qkv.weight": 1}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    check(state, "2.9")
assert [each.category for each in caught] == [CheckpointWarning], caught
assert "torch" not in sys.modules
"""


def test_checking_imports_no_pytorch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
