"""Rule: the hostile files that other tests read are hostile: PyTorch runs what they say.

It does so in a process and a folder of its own, and what they run makes an empty folder.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers import hostile

LOADING = """
import contextlib, pathlib, sys, warnings, torch
warnings.simplefilter("ignore")
for path in pathlib.Path(sys.argv[1]).glob("*.pt"):
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)
"""


def test_each_of_them_is_hostile(tmp_path: Path) -> None:
    names = [name for name, _data in hostile.every("x")]
    for number, name in enumerate(names):
        canary = str(tmp_path / f"ran-{number}")
        (tmp_path / f"{number}.pt").write_bytes(dict(hostile.every(canary))[name])
    subprocess.run([sys.executable, "-c", LOADING, str(tmp_path)], check=True, cwd=tmp_path)
    harmless = [name for i, name in enumerate(names) if not (tmp_path / f"ran-{i}").is_dir()]
    assert harmless == []
