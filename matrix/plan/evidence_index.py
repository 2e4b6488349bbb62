"""Evidence on the cells of a plan: live from a store, and recorded."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, cast

from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import SizedScenario
from matrix.catalogue.words import ControlName
from matrix.plan.cells import CONTROL, Cell, Control, Plan, controls_of
from matrix.store import keys
from matrix.store.recorded import Recorded
from matrix.store.records import Attempt, Load, Save, agree
from matrix.store.store import Store

Kept = TypeVar("Kept", bound=Save | Load)


@dataclasses.dataclass(frozen=True)
class Known(Generic[Kept]):
    """The evidence on one save or load: all records under its key."""

    records: tuple[Kept, ...]
    """Those of the plan's own runner first, then those of others, then recorded ones."""
    live: bool
    """Whether a record is of the plan's own runner.

    Records of other runners count as recorded evidence does: they are used, and the plan's
    own runner still has to measure.
    """

    @functools.cached_property
    def conflict(self) -> bool:
        """Whether the records have different observations."""
        return len(self.records) > 1 and not agree(self.records)


class EvidenceIndex:
    """The evidence on a plan, found by scenario, variant and releases.

    :param store: live evidence, read once; None for none.
    :param recorded: recorded evidence; None for none.
    :raises StoreError: the store cannot be read.
    """

    def __init__(self, plan: Plan, store: Store | None, recorded: Recorded | None) -> None:
        self.plan = plan
        self._recorded = recorded
        self._saves = store.saves() if store else {}
        self._loads = store.loads() if store else {}
        self._attempts = store.attempts() if store else {}
        # Cells by the thousand ask for the same: savers of one state share their loads.
        self._save_keys: dict[tuple[str, str], str] = {}
        self._load_keys: dict[tuple[str, str, str, str], str] = {}
        self._found: dict[str, Known[Save] | Known[Load] | None] = {}

    @property
    def has_attempts(self) -> bool:
        """Whether the store holds any failed attempt."""
        return bool(self._attempts)

    def everything(self) -> Iterator[Save | Load]:
        """Yield all records, live ones first, also those that no cell of the plan needs."""
        for saves in self._saves.values():
            yield from saves
        for loads in self._loads.values():
            yield from loads
        if self._recorded:
            yield from self._recorded.records()

    def add(self, record: Save | Load | Attempt) -> None:
        """Add a record or an attempt that has just been written to the store."""
        self._found.pop(record.key, None)
        match record:
            case Save():
                self._saves.setdefault(record.key, []).append(record)
            case Load():
                self._loads.setdefault(record.key, []).append(record)
            case Attempt():
                self._attempts.setdefault(record.key, []).append(record)

    def save_key(self, scenario: str, release: Release) -> str:
        """Return the key of a release's save."""
        place = scenario, release.digest
        if (key := self._save_keys.get(place)) is None:
            sized = self.plan.scenarios[scenario]
            key = keys.save_key(release.digest, sized.digest, self.plan.lane_key)
            self._save_keys[place] = key
        return key

    def save(self, scenario: str, release: Release) -> Known[Save] | None:
        """Return the evidence on a release's save; None where there is none."""
        key = self.save_key(scenario, release)
        if key not in self._found:
            live = self._saves.get(key, [])
            self._found[key] = self._known(live, self._kept(Recorded.saves, scenario, key, live))
        return cast("Known[Save] | None", self._found[key])

    def load_key(self, scenario: str, variant: str, save: Save, loader: Release) -> str:
        """Return the key of a load of a saved checkpoint."""
        place = scenario, variant, save.state_digest, loader.digest
        if (key := self._load_keys.get(place)) is None:
            sized = self.plan.scenarios[scenario]
            key = keys.load_key(
                loader.digest, save.state_digest, sized.digest, variant, self.plan.lane_key
            )
            self._load_keys[place] = key
        return key

    def load(self, scenario: str, variant: str, save: Save, loader: Release) -> Known[Load] | None:
        """Return the evidence on a load of a saved checkpoint; None where there is none."""
        key = self.load_key(scenario, variant, save, loader)
        if key not in self._found:
            live = self._loads.get(key, [])
            self._found[key] = self._known(live, self._kept(Recorded.loads, scenario, key, live))
        return cast("Known[Load] | None", self._found[key])

    def cell(self, cell: Cell) -> tuple[Known[Save] | None, Known[Load] | None]:
        """Return the evidence on a cell's save and load; None for each that has none."""
        saved = self.save(cell.scenario, self.plan.releases[cell.saved_by])
        if saved is None:
            return None, None
        loader = self.plan.releases[cell.loaded_by]
        return saved, self.load(cell.scenario, cell.variant, saved.records[0], loader)

    def attempt_key(self, scenario: str, variant: str, saver: Release, loader: Release) -> str:
        """Return the key of failed attempts at a cell."""
        sized = self.plan.scenarios[scenario]
        return keys.attempt_key(
            saver.digest, loader.digest, sized.digest, variant, self.plan.lane_key
        )

    def save_attempt_key(self, scenario: str, saver: Release) -> str:
        """Return the key of failed attempts at a save."""
        sized = self.plan.scenarios[scenario]
        return keys.attempt_key(saver.digest, "", sized.digest, "", self.plan.lane_key)

    def load_attempts(
        self, scenario: str, variant: str, saver: Release, loader: Release
    ) -> Sequence[Attempt]:
        """Return the failed attempts at a cell, oldest first."""
        if not self._attempts:
            return []
        return self.attempts(self.attempt_key(scenario, variant, saver, loader))

    def attempts(self, key: str) -> Sequence[Attempt]:
        """Return the failed attempts under a key, oldest first."""
        return self._attempts.get(key, [])

    def _kept(
        self,
        read: Callable[[Recorded, str, str], list[Kept]],
        scenario: str,
        key: str,
        live: Sequence[Kept],
    ) -> list[Kept]:
        """Return recorded evidence, unless it only repeats what is live."""
        if self._recorded is None or (live and self._recorded.repeats(live[0])):
            return []
        return read(self._recorded, scenario, key)

    def _known(self, live: Sequence[Kept], recorded: Sequence[Kept]) -> Known[Kept] | None:
        if not (live or recorded):
            return None
        # False sorts first, and sorted() is stable: the plan's own runner, then the others.
        ordered = sorted(live, key=lambda record: record.provenance.runner != self.plan.runner)
        own = any(record.provenance.runner == self.plan.runner for record in live)
        return Known((*ordered, *recorded), own)


def control_variant(control: Control, loader: Release, scenario: SizedScenario) -> str:
    """Return the name of the variant under which a control's loads are recorded.

    That of the control ``own`` is an ordinary variant, ``trusted`` where the loader has an
    opt-in for pickled extra state, else ``plain``; unless the scenario loads under another
    recipe than it saves, which no control does.
    """
    if control.name == ControlName.OWN and scenario.one_recipe:
        return "trusted" if loader.opt_in else "plain"
    return CONTROL + control.name.value


def pairs(plan: Plan) -> list[Cell]:
    """Return all loads of a plan: its cells, and its controls as cells."""
    wanted = dict.fromkeys(plan.cells)
    for scenario, loader in plan.controls():
        for control in controls_of(plan.scenarios[scenario]):
            variant = control_variant(control, loader, plan.scenarios[scenario])
            wanted[Cell(scenario, variant, loader.name, loader.name)] = None
    return list(wanted)
