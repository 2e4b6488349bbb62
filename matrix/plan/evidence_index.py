"""What is known of a plan: live evidence from a store, recorded evidence beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from matrix.catalogue.releases import Release
from matrix.plan.cells import CONTROLS, Cell, Control, Plan
from matrix.store import keys
from matrix.store.archive import Archive
from matrix.store.records import Attempt, Load, Save, agree
from matrix.store.store import Store

Kept = TypeVar("Kept", bound=Save | Load)


@dataclasses.dataclass(frozen=True)
class Known(Generic[Kept]):
    """The records under one key: the plan's runner's first, then others', then recorded ones.

    More than one observation among them is a conflict. ``live`` says whether the plan's
    own runner is among them: what another runner saw is held against it, and stands in
    for it as recorded evidence does, but it is not what was asked for.
    """

    records: tuple[Kept, ...]
    live: bool

    @property
    def conflict(self) -> bool:
        """Whether records under one key saw different things."""
        return not agree(self.records)


class EvidenceIndex:
    """Answers, for any cell of a plan, what has been observed and where.

    :param store: live evidence, or None for recorded evidence alone.
    :param archive: recorded evidence, or None.
    """

    def __init__(self, plan: Plan, store: Store | None, archive: Archive | None) -> None:
        self.plan = plan
        self._archive = archive
        self._saves = store.saves() if store else {}
        self._loads = store.loads() if store else {}
        self._attempts = store.attempts() if store else {}

    def everything(self) -> Iterator[Save | Load]:
        """Yield every record, of the plan or not: live ones first."""
        for saves in self._saves.values():
            yield from saves
        for loads in self._loads.values():
            yield from loads
        if self._archive:
            yield from self._archive.records()

    def add(self, record: Save | Load | Attempt) -> None:
        """Note a record or an attempt that has just been stored."""
        match record:
            case Save():
                self._saves.setdefault(record.key, []).append(record)
            case Load():
                self._loads.setdefault(record.key, []).append(record)
            case Attempt():
                self._attempts.setdefault(record.key, []).append(record)

    def save_key(self, scenario: str, release: Release) -> str:
        """Return the key of a release's save."""
        sized = self.plan.scenarios[scenario]
        return keys.save_key(release.digest, sized.digest, self.plan.lane)

    def save(self, scenario: str, release: Release) -> Known[Save] | None:
        """Return what is known of a release's save."""
        key = self.save_key(scenario, release)
        recorded = self._archive.saves(key) if self._archive else []
        return self._known(self._saves.get(key, []), recorded)

    def load_key(self, scenario: str, variant: str, save: Save, loader: Release) -> str:
        """Return the key of one load of a known checkpoint."""
        sized = self.plan.scenarios[scenario]
        return keys.load_key(
            loader.digest, save.state_digest, sized.digest, variant, self.plan.lane
        )

    def load(self, scenario: str, variant: str, save: Save, loader: Release) -> Known[Load] | None:
        """Return what is known of one load of a known checkpoint."""
        key = self.load_key(scenario, variant, save, loader)
        recorded = self._archive.loads(key) if self._archive else []
        return self._known(self._loads.get(key, []), recorded)

    def cell(self, cell: Cell) -> tuple[Known[Save] | None, Known[Load] | None]:
        """Return what is known of a cell: of the save, and of the load of that."""
        saved = self.save(cell.scenario, self.plan.releases[cell.saved_by])
        if saved is None:
            return None, None
        loader = self.plan.releases[cell.loaded_by]
        return saved, self.load(cell.scenario, cell.variant, saved.records[0], loader)

    def attempt_key(self, scenario: str, variant: str, saver: Release, loader: Release) -> str:
        """Return the key that the failed attempts at one cell share."""
        sized = self.plan.scenarios[scenario]
        return keys.attempt_key(saver.digest, loader.digest, sized.digest, variant, self.plan.lane)

    def save_attempt_key(self, scenario: str, saver: Release) -> str:
        """Return the key that the failed attempts at one save share."""
        sized = self.plan.scenarios[scenario]
        return keys.attempt_key(saver.digest, "", sized.digest, "", self.plan.lane)

    def load_attempts(
        self, scenario: str, variant: str, saver: Release, loader: Release
    ) -> Sequence[Attempt]:
        """Return the failed attempts at one cell, oldest first."""
        if not self._attempts:
            return []
        return self.attempts(self.attempt_key(scenario, variant, saver, loader))

    def attempts(self, key: str) -> Sequence[Attempt]:
        """Return the failed attempts under a key, oldest first."""
        return self._attempts.get(key, [])

    def _known(self, live: Sequence[Kept], recorded: Sequence[Kept]) -> Known[Kept] | None:
        if not (live or recorded):
            return None
        # sorted() is stable: False, the plan's own runner, comes first.
        ordered = sorted(live, key=lambda record: record.provenance.runner != self.plan.runner)
        own = any(record.provenance.runner == self.plan.runner for record in live)
        return Known((*ordered, *recorded), own)


def control_variant(control: Control, loader: Release) -> str:
    """Return the variant that a control is kept under.

    A loader's own save is an ordinary cell: ``trusted`` where it has an opt-in,
    else ``plain``.
    """
    if control.name == "own":
        return "trusted" if loader.opt_in else "plain"
    return f"control:{control.name}"


def pairs(plan: Plan) -> list[Cell]:
    """Return everything to be loaded: the cells, and every loader's controls."""
    wanted = dict.fromkeys(plan.cells)
    for loader in plan.loaders:
        for scenario in plan.scenarios:
            for control in CONTROLS:
                variant = control_variant(control, loader)
                wanted[Cell(scenario, variant, loader.name, loader.name)] = None
    return list(wanted)
