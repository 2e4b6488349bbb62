"""Every save of a store with quantized weights, written in the form of every release.

    python -m tools.quantized STORE

What is written must be what that release's own save in the scenario holds: the same functions,
arguments, numbers and attributes. Exits with 1, and names the pairs, where it is not.
`internal` of a quantizer is not compared: it is copied, and releases differ in it.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

from helpers.quantized import text
from matrix.catalogue import releases, scenarios
from matrix.catalogue import weights as table
from matrix.catalogue.scenarios import class_of
from matrix.checkpoint import torchfile
from matrix.checkpoint.added import AddedStorages
from matrix.checkpoint.quantized import weights
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.torchfile import TorchFile
from matrix.store.store import Store


def main() -> int:
    """Compare all pairs, print what differs and how many do not, and return the exit status."""
    files = saved(Store(Path(sys.argv[1])))
    same, wrong = 0, []
    for scenario, by_release in files.items():
        recipe = class_of(scenarios.load()[scenario].scenario.save_recipe)
        for target, own in by_release.items():
            version = releases.load()[target].version
            if not table.load().reads(table.load().quantized_by(recipe), version):
                continue
            expected = held(torchfile.of_bytes(own))
            for saver, data in by_release.items():
                file = torchfile.of_bytes(data)
                if not held(file):
                    continue
                WeightChange(into=version).apply(file, AddedStorages(file))
                if held(file) == expected:
                    same += 1
                else:
                    wrong.append(f"{scenario}: {saver} -> {target}")
    print("\n".join(wrong) or "no difference", f"{same} pairs alike", sep="\n")
    return int(bool(wrong) or not same)


def saved(store: Store) -> dict[str, dict[str, bytes]]:
    """Return the files of saves with quantized weights, by scenario and release."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    quantized = {
        name for name, sized in scenarios.load().items() if sized.scenario.weights == "fp8"
    }
    for records in store.saves().values():
        for save in records:
            if save.scenario in quantized and save.file_digest is not None:
                data = store.checkpoint(save.file_digest)
                assert data is not None, f"the file of {save.release} is not in the store"
                found[save.scenario][save.release] = data
    return found


def held(file: TorchFile) -> list[str]:
    """Return what the pickle of a file says of its quantized weights."""
    calls = weights.search(file.root)[0]
    return [re.sub(r"'internal': \w+", "'internal': ...", text(call)) for call in calls]


if __name__ == "__main__":
    sys.exit(main())
