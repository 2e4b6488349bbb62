"""Merging stores: the evidence of several machines in one store.

Records are immutable and named by their observation, so that a merge is a union. Of two
records of the same observation the older one is kept, so that neither the order of the
sources nor a repeated merge changes the result.
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
    name: DEFAULTS.get(name, DEFAULTS["releases"])
    for name in ("saved_by", "loaded_by", "scenario", "variant")
}
"""The fields of a selection whose terms are joined by commas, with their defaults."""


@dataclasses.dataclass
class Merged:
    """Result of a merge: how many objects of each kind are new in the target, and more.

    :param conflicts: the saves and cells with contradicting records. All of these are kept,
        and the verdict of the cells is ``infra``.
    :param selection: the union of the runs' selections; None if it cannot be one selection.
    """

    saves: int = 0
    loads: int = 0
    attempts: int = 0
    checkpoints: int = 0
    conflicts: tuple[str, ...] = ()
    selection: Selection | None = None


def merge(sources: Sequence[Store | Archive], into: Store) -> Merged:
    """Copy everything from the sources into one store.

    :param sources: stores, and exported files, which have no checkpoints.
    :param into: the target; it may hold records already.
    :raises UsageError: a source is no store.
    :raises StoreError: a record or a checkpoint cannot be read or written, or the sources
        are shards, but not all shards of one split, each once.
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
        _copy_store(source, target, merged)
    for file in sources:
        if isinstance(file, Archive):
            _copy_file(file, target, merged)
    merged.conflicts = tuple(_conflicts(into))
    if merged.selection:
        into.remember(merged.selection)
    else:
        into.forget()
    return merged


class _Target:
    """The content of the target: read once, and updated with everything that is added."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.saves, self.loads = store.saves(), store.loads()
        self.attempts = store.attempts()
        self.checkpoints = store.checkpoints()


def _copy_store(source: Store, into: _Target, merged: Merged) -> None:
    # Checkpoints first, so that an interrupted merge leaves no record without its checkpoint.
    for digest in sorted(source.checkpoints() - into.checkpoints):
        data = source.checkpoint(digest)
        assert data is not None
        into.store.put_checkpoint(digest, data)
        into.checkpoints.add(digest)
        merged.checkpoints += 1
    merged.saves += _add_records(source.saves(), into.saves, into.store.add)
    merged.loads += _add_records(source.loads(), into.loads, into.store.add)
    merged.attempts += _add_attempts(source, into)


def _copy_file(file: Archive, into: _Target, merged: Merged) -> None:
    found = file.records()
    saves = [record for record in found if isinstance(record, Save)]
    loads = [record for record in found if isinstance(record, Load)]
    merged.saves += _add_records(_by_key(saves), into.saves, into.store.add)
    merged.loads += _add_records(_by_key(loads), into.loads, into.store.add)


def _by_key(records: Iterable[Kept]) -> dict[str, list[Kept]]:
    return grouped((record.key, record) for record in records)


def _add_records(
    found: Mapping[str, Sequence[Kept]],
    present: dict[str, list[Kept]],
    add: Callable[[Kept], None],
) -> int:
    """Add records that are new, or older than the present ones; return the number of new ones."""
    added = 0
    for key, records in found.items():
        kept = {_identity(record): record for record in present.get(key, ())}
        for record in records:
            known = kept.get(_identity(record))
            if known is None or _age(record) < _age(known):
                add(record)
                added += known is None
                kept[_identity(record)] = record
        present[key] = list(kept.values())
    return added


def _identity(record: Save | Load) -> tuple[str, RunnerName]:
    return record.observed(), record.provenance.runner


def _age(record: Save | Load) -> tuple[str, str]:
    return record.provenance.recorded_at, record.model_dump_json()


def _add_attempts(source: Store, into: _Target) -> int:
    added = 0
    for key, attempts in source.attempts().items():
        present = into.attempts.setdefault(key, [])
        for attempt in attempts:
            if attempt not in present:
                into.store.add_attempt(attempt)
                present.append(attempt)
                added += 1
    return added


def _conflicts(store: Store) -> Iterable[str]:
    for records in store.saves().values():
        if not agree(records):
            yield f"{records[0].scenario}, saved by {records[0].release}"
    for loads in store.loads().values():
        if not agree(loads):
            first = loads[0]
            yield f"{first.scenario}/{first.variant}/{first.saved_by}->{first.release}"


def joined(selections: Sequence[Selection]) -> Selection | None:
    """Return the union of selections.

    None if there are none, or if they differ in anything except releases, candidates,
    scenarios and variants: runs in different lanes or sizes are no single run.
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
    """Return a selection whose ``releases`` are moved to ``saved_by`` and ``loaded_by``."""
    both = selection.releases
    return selection.model_copy(
        update={
            "releases": None,
            "saved_by": selection.saved_by or both,
            "loaded_by": selection.loaded_by or both,
        }
    )


def _terms(selections: Sequence[Selection], name: str) -> str | None:
    """Join the terms of one field, each once; None if it is None in all selections."""
    texts = [getattr(selection, name) for selection in selections]
    if not any(texts):
        return None
    terms = [term.strip() for text in texts for term in (text or _JOINED[name]).split(",")]
    return "all" if "all" in terms else ",".join(dict.fromkeys(terms))
