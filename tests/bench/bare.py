"""Time what no harness can do without: ``torch.load`` and ``load_state_dict``, and nothing else.

Arguments: folder of a release's source, its version, a recipe as JSON, the opt-in or "".
Prints two medians, in seconds: of a load in a process of its own, forked and ended, and of a
load in a process that has done some before.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TURNS = 21


def load(built: Any, path: str) -> None:
    import torch

    built.load_state_dict(torch.load(path, weights_only=False), strict=True)


def in_a_child(work: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _pid, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("the load failed")


def timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    source, version, recipe, opt_in = sys.argv[1:]
    os.environ["NVTE_TORCH_COMPILE"] = "0"
    if opt_in:
        os.environ[opt_in] = "1"
    from matrix.worker import standin

    standin.install(Path(source), version)
    sys.path.insert(0, source)
    import torch
    import transformer_engine.pytorch  # noqa: F401

    from matrix.worker import forking, model, saving

    torch.set_num_threads(1)
    scenario = json.loads(recipe)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/checkpoint.pt"
        saving.save({"scenario": scenario, "lane": "cpu", "path": path})
        built = model.build(scenario, scenario["load_recipe"])
        forking.prepare_to_fork()
        forked = [timed(lambda: in_a_child(lambda: load(built, path))) for _turn in range(TURNS)]
        again = [timed(lambda: load(built, path)) for _turn in range(TURNS)]
    print(statistics.median(forked[1:]), statistics.median(again[1:]))


if __name__ == "__main__":
    main()
