"""Run one action with a release's own code, in a process of its own in the cpu lane.

``dequantize IN OUT``: quantized weights of a checkpoint as the release's own ``dequantize`` gives
them, by key. ``resave IN OUT``: a checkpoint loaded into a model of the scenario and saved anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ACTIONS = ("dequantize", "resave")


def run(
    version: str, action: str, path: Path, out: Path, dtype: str, scenario: dict[str, Any]
) -> None:
    """Start a release and have it do an action."""
    from matrix.catalogue import releases
    from matrix.lane.sources import FetchedSources

    release = releases.load()[version]
    start = {
        "lane": "cpu",
        "version": release.version,
        "source": str(FetchedSources().get(release)),
    }
    request = [start, action, str(path), str(out), dtype, scenario]
    environment = {**os.environ, **({release.opt_in: "1"} if release.opt_in else {})}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, __file__, json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _main() -> None:
    start, action, path, out, dtype, scenario = json.loads(sys.argv[1])
    import torch

    from matrix.worker import lanes, release
    from matrix.worker import model as models

    release._import(start)
    lanes.prepare({"lane": "cpu", "scenario": scenario})
    state = torch.load(path, weights_only=False)
    if action == "dequantize":
        kind = getattr(torch, dtype)
        # Float8Tensor.from_float8 up to 1.14; torch.Tensor has a dequantize of its own.
        found = {
            key: value.from_float8(kind)
            if hasattr(value, "from_float8")
            else value.dequantize(dtype=kind)
            for key, value in state.items()
            if (
                type(value) not in (torch.Tensor, torch.nn.Parameter)
                and hasattr(value, "_fp8_dtype")
            )
            or hasattr(value, "_fp4_dtype")
        }
    else:
        built = models.build(scenario, scenario["load_recipe"])
        built.load_state_dict(state)
        found = built.state_dict()
    torch.save(found, out)


if __name__ == "__main__":
    # The folder of this file holds modules with the names of others.
    sys.path[:] = [
        entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent
    ]
    _main()
