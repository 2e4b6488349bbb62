"""Expected durations of saves and loads and sizes of checkpoints, from earlier ones."""

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
"""Seconds that a process takes to import a release; measured on two cores."""
SAVE = 0.5
"""Seconds of a save where no save has a known duration."""
LOAD = 0.1
"""Seconds of a load where no load has a known duration."""
RECORD = 6_000
"""Mean size in bytes of a record in the recorded evidence."""

_BITS = {"bool": 8, "float8": 8, "int8": 8, "uint8": 8, "16": 16, "32": 32, "64": 64}
_STATE = 4_000
"""Approximate size in bytes of an extra state in a checkpoint."""


class Costs:
    """Expected seconds and bytes; the same evidence gives the same values on every machine.

    A save or load with a record is expected to take as long as it took then. Otherwise it is
    the median over the same release and scenario, else over the scenario, else over all
    records, else a constant.

    :param index: the evidence to take durations from.
    """

    def __init__(self, index: EvidenceIndex) -> None:
        self._index = index
        self._saves: dict[Any, list[float]] = defaultdict(list)
        self._loads: dict[Any, list[float]] = defaultdict(list)
        self._bytes: dict[str, list[int]] = defaultdict(list)
        self._medians: dict[Any, float | None] = {}
        for record in index.everything():
            if isinstance(record, Save):
                self._note(self._saves, record)
                self._bytes[record.scenario].append(_size(record.keys.values()))
            else:
                self._note(self._loads, record)

    @property
    def timed(self) -> bool:
        """Whether any record has a duration."""
        return bool(self._saves or self._loads)

    def _note(self, known: dict[Any, list[float]], record: Save | Load) -> None:
        seconds = record.provenance.seconds
        for group in ((record.source_digest, record.scenario), record.scenario, None):
            known[group].append(seconds)

    def save(self, scenario: str, release: Release) -> float:
        """Return the expected seconds of a release's save."""
        known = self._index.save(scenario, release)
        if known:
            return float(known.records[0].provenance.seconds)
        return self._expected("save", (release.digest, scenario), scenario, SAVE)

    def load(self, cell: Cell) -> float:
        """Return the expected seconds of a cell's load."""
        _saved, known = self._index.cell(cell)
        if known:
            return float(known.records[0].provenance.seconds)
        loader = self._index.plan.releases[cell.loaded_by]
        return self._expected("load", (loader.digest, cell.scenario), cell.scenario, LOAD)

    def _expected(self, what: str, own: Any, scenario: str, stated: float) -> float:
        for group in (own, scenario, None):
            if (found := self._median_of(what, group)) is not None:
                return found
        return stated

    def _median_of(self, what: str, group: Any) -> float | None:
        """Return the median duration of a group of saves or loads; None for an empty group."""
        if (what, group) not in self._medians:
            known = (self._saves if what == "save" else self._loads).get(group)
            self._medians[what, group] = statistics.median(known) if known else None
        return self._medians[what, group]

    def checkpoint(self, scenario: str, release: Release) -> int:
        """Return the approximate size in bytes of a release's checkpoint."""
        known = self._index.save(scenario, release)
        if known:
            return _size(known.records[0].keys.values())
        others = self._bytes.get(scenario)
        return int(statistics.median(others)) if others else 0


def _size(entries: Iterable[StateEntry]) -> int:
    """Return the approximate size in bytes of a state dict's entries in a file."""
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
