"""What saves and loads cost, from how long they took before."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from matrix.catalogue.releases import Release
from matrix.plan.cells import Cell
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store.records import Load, Save, StateEntry

START = 1.0
"""Seconds that a release process takes to import its release; measured on two cores."""
SAVE = 0.5
"""Seconds of a save where neither it nor any other was ever timed."""
LOAD = 0.1
"""Seconds of a load where neither it nor any other was ever timed."""
RECORD = 6_000
"""Bytes of a record in the store, as it is on average in the recorded evidence."""

_BITS = {"bool": 8, "float8": 8, "int8": 8, "uint8": 8, "16": 16, "32": 32, "64": 64}
_STATE = 4_000
"""Bytes of one extra state in a checkpoint, about."""


class Costs:
    """Estimates seconds and bytes. The same for the same evidence, wherever it is asked.

    What was done before costs what it took; what was not, as much as that release's other
    saves or loads in that scenario took in the middle; else as much as anybody's; else what
    is stated above.
    """

    def __init__(self, index: EvidenceIndex) -> None:
        self._index = index
        self._saves: dict[Any, list[float]] = defaultdict(list)
        self._loads: dict[Any, list[float]] = defaultdict(list)
        self._bytes: dict[str, list[int]] = defaultdict(list)
        self._middles: dict[Any, float | None] = {}
        for record in index.everything():
            if isinstance(record, Save):
                self._note(self._saves, record)
                self._bytes[record.scenario].append(_size(record.keys.values()))
            else:
                self._note(self._loads, record)

    @property
    def timed(self) -> bool:
        """Whether anything was ever timed."""
        return bool(self._saves or self._loads)

    def _note(self, known: dict[Any, list[float]], record: Save | Load) -> None:
        seconds = record.provenance.seconds
        for group in ((record.source_digest, record.scenario), record.scenario, None):
            known[group].append(seconds)

    def save(self, scenario: str, release: Release) -> float:
        """Return the seconds that a release's save is going to take."""
        known = self._index.save(scenario, release)
        if known:
            return float(known.records[0].provenance.seconds)
        return self._middle("save", (release.digest, scenario), scenario, SAVE)

    def load(self, cell: Cell) -> float:
        """Return the seconds that a cell's load is going to take."""
        _saved, known = self._index.cell(cell)
        if known:
            return float(known.records[0].provenance.seconds)
        loader = self._index.plan.releases[cell.loaded_by]
        return self._middle("load", (loader.digest, cell.scenario), cell.scenario, LOAD)

    def _middle(self, what: str, own: Any, scenario: str, stated: float) -> float:
        for group in (own, scenario, None):
            if (found := self._middle_of(what, group)) is not None:
                return found
        return stated

    def _middle_of(self, what: str, group: Any) -> float | None:
        """Return the middle of what a group of saves or loads took; None where it is empty."""
        if (what, group) not in self._middles:
            known = (self._saves if what == "save" else self._loads).get(group)
            self._middles[what, group] = statistics.median(known) if known else None
        return self._middles[what, group]

    def checkpoint(self, scenario: str, release: Release) -> int:
        """Return the bytes of a release's checkpoint, about."""
        known = self._index.save(scenario, release)
        if known:
            return _size(known.records[0].keys.values())
        others = self._bytes.get(scenario)
        return int(statistics.median(others)) if others else 0


def _size(entries: Iterable[StateEntry]) -> int:
    """Return the bytes that a state dict's entries take in a file, about."""
    total = 0
    for entry in entries:
        if entry.shape is None or entry.dtype is None:
            total += _STATE
            continue
        bits = next((b for name, b in _BITS.items() if name in entry.dtype), 8)
        count = 1
        for length in entry.shape:
            count *= length
        total += count * bits // 8
    return total
