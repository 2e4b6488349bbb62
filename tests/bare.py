"""Time what no harness can do without: in one process, load the same checkpoint again and again.

Arguments: folder of a release's source, its version, a recipe as JSON, the opt-in or "".
Prints the median of the seconds that ``torch.load`` and ``load_state_dict`` take together.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "matrix"))


def main() -> None:
    source, version, recipe, opt_in = sys.argv[1:]
    os.environ["NVTE_TORCH_COMPILE"] = "0"
    if opt_in:
        os.environ[opt_in] = "1"
    from worker import standin

    standin.install(Path(source), version)
    sys.path.insert(0, source)
    import torch
    import transformer_engine.pytorch  # noqa: F401

    from worker import model, saving

    torch.set_num_threads(1)
    scenario = json.loads(recipe)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/checkpoint.pt"
        saving.save({"scenario": scenario, "lane": "cpu", "path": path})
        built = model.build(scenario, scenario["load_recipe"])
        times = []
        for _turn in range(21):
            began = time.perf_counter()
            state = torch.load(path, weights_only=False)
            built.load_state_dict(state, strict=True)
            times.append(time.perf_counter() - began)
    print(statistics.median(times[1:]))


if __name__ == "__main__":
    main()
