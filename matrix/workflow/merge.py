"""Merging stores: what several machines measured becomes one store.

Records are immutable and named by what they observed, so that a merge is a union. Where
two stores hold the same observation, the older record stays: the result is the same
whatever the order, and merging twice changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from matrix.catalogue.selection import DEFAULTS, Selection
from matrix.catalogue.words import RunnerName
from matrix.errors import UsageError
from matrix.plan import shards
from matrix.plan.remaining import grouped
from matrix.store.archive import Archive
from matrix.store.records import Load, Save, agree
from matrix.store.store import Store

Kept = TypeVar("Kept", Save, Load)

_JOINED = {
    "saved_by": DEFAULTS["releases"],
    "loaded_by": DEFAULTS["releases"],
    "scenario": DEFAULTS["scenario"],
    "variant": DEFAULTS["variant"],
}
"""The options whose terms a merged selection joins by commas, with their defaults."""


@dataclasses.dataclass
class Merged:
    """What a merge brought, by kind of object, and what it brought to light.

    ``conflicts`` names everything that was observed in more than one way; all observations
    are kept, and the cells are ``infra``. ``selection`` is what the merged runs selected
    together, or None where they cannot be one run.
    """

    saves: int = 0
    loads: int = 0
    attempts: int = 0
    checkpoints: int = 0
    conflicts: tuple[str, ...] = ()
    selection: Selection | None = None


def merge(sources: Sequence[Store | Archive], into: Store) -> Merged:
    """Bring everything that the sources hold into one store.

    :param sources: stores, and exported files, which hold no checkpoints.
    :raises UsageError: a source is no store.
    :raises StoreError: a record or checkpoint cannot be read, or not be written; or the
        sources are shards and not all of one split, each once.
    """
    stores = [source for source in sources if isinstance(source, Store)]
    for source in stores:
        if not source.exists():
            raise UsageError(
                f"{source.url} is no store",
                do="Name folders or URLs that `te-matrix run --store` wrote",
            )
    shards.check([(store.url, store.manifests()) for store in stores])
    selections = [store.remembered() for store in (into, *stores)]
    into.prepare()
    merged = Merged(selection=joined([found for found in selections if found]))
    target = _Target(into)
    for source in stores:
        _bring(source, target, merged)
    for file in sources:
        if isinstance(file, Archive):
            _bring_file(file, target, merged)
    merged.conflicts = tuple(_conflicts(into))
    if merged.selection:
        into.remember(merged.selection)
    else:
        into.forget()
    return merged


class _Target:
    """What the store that is merged into holds: read once, and abreast of what is added."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.saves, self.loads = store.saves(), store.loads()
        self.attempts = store.attempts()
        self.checkpoints = store.checkpoints()


def _bring(source: Store, into: _Target, merged: Merged) -> None:
    # Checkpoints first: no record is ever there before the file that it speaks of.
    for digest in sorted(source.checkpoints() - into.checkpoints):
        data = source.checkpoint(digest)
        assert data is not None
        into.store.put_checkpoint(digest, data)
        into.checkpoints.add(digest)
        merged.checkpoints += 1
    merged.saves += _records(source.saves(), into.saves, into.store.add)
    merged.loads += _records(source.loads(), into.loads, into.store.add)
    merged.attempts += _attempts(source, into)


def _bring_file(file: Archive, into: _Target, merged: Merged) -> None:
    found = file.records()
    saves = [record for record in found if isinstance(record, Save)]
    loads = [record for record in found if isinstance(record, Load)]
    merged.saves += _records(_by_key(saves), into.saves, into.store.add)
    merged.loads += _records(_by_key(loads), into.loads, into.store.add)


def _by_key(records: Iterable[Kept]) -> dict[str, list[Kept]]:
    return grouped((record.key, record) for record in records)


def _records(
    found: Mapping[str, Sequence[Kept]],
    present: dict[str, list[Kept]],
    add: Callable[[Kept], None],
) -> int:
    """Add what is not present, or is older than what is; return how many were added."""
    added = 0
    for key, records in found.items():
        there = {_identity(record): record for record in present.get(key, ())}
        for record in records:
            known = there.get(_identity(record))
            if known is None or _age(record) < _age(known):
                add(record)
                added += known is None
                there[_identity(record)] = record
        present[key] = list(there.values())
    return added


def _identity(record: Save | Load) -> tuple[str, RunnerName]:
    return record.observed(), record.provenance.runner


def _age(record: Save | Load) -> tuple[str, str]:
    return record.provenance.recorded_at, record.model_dump_json()


def _attempts(source: Store, into: _Target) -> int:
    added = 0
    for key, attempts in source.attempts().items():
        there = into.attempts.setdefault(key, [])
        for attempt in attempts:
            if attempt not in there:
                into.store.add_attempt(attempt)
                there.append(attempt)
                added += 1
    return added


def _conflicts(store: Store) -> Iterable[str]:
    for records in store.saves().values():
        if not agree(records):
            yield f"{records[0].scenario}, saved by {records[0].release}"
    for loads in store.loads().values():
        if not agree(loads):
            first = loads[0]
            cell = f"{first.scenario}/{first.variant}/{first.saved_by}->{first.release}"
            yield cell


def joined(selections: Sequence[Selection]) -> Selection | None:
    """Return the selection of all cells that the selections hold together.

    None where there are none, or where they differ in more than releases, scenarios and
    variants: what was run in different lanes or sizes is no one run.
    """
    if not selections:
        return None
    first, *rest = [_spelled_out(selection) for selection in selections]
    everything = first.model_copy(
        update={name: _terms([first, *rest], name) for name in _JOINED}
        | {"candidate": tuple(dict.fromkeys(c for s in (first, *rest) for c in s.candidate))}
    )
    same = {*Selection.model_fields} - {*_JOINED, "releases", "candidate"}
    alike = all(getattr(other, name) == getattr(first, name) for other in rest for name in same)
    return everything if alike else None


def _spelled_out(selection: Selection) -> Selection:
    """Return a selection with savers and loaders named apart."""
    both = selection.releases
    return selection.model_copy(
        update={
            "releases": None,
            "saved_by": selection.saved_by or both,
            "loaded_by": selection.loaded_by or both,
        }
    )


def _terms(selections: Sequence[Selection], name: str) -> str | None:
    """Join one option's terms, each once; None where nobody typed any."""
    texts = [getattr(selection, name) for selection in selections]
    if not any(texts):
        return None
    terms = [term.strip() for text in texts for term in (text or _JOINED[name]).split(",")]
    return "all" if "all" in terms else ",".join(dict.fromkeys(terms))
