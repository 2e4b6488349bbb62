"""Rule: what the harness promises holds for anything that could be given to it."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import os
import random
import re
from collections.abc import Iterable, Iterator
from typing import Any

import fsspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from helpers.builders import FAQ_SCENARIOS, a_load, a_save, entry_fields
from matrix.catalogue import faq, ranges, releases, scenarios, selection, tables
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.selection import Selection
from matrix.errors import TableError
from matrix.judge import judge, ledger
from matrix.judge.judgement import Judgement
from matrix.judge.ledger import LedgerEntry
from matrix.plan.cells import Plan, plan_cells
from matrix.plan.evidence_index import EvidenceIndex, pairs
from matrix.store.archive import Archive, write
from matrix.store.records import Attempt, Failure, Load, Provenance, Save
from matrix.store.store import Store
from matrix.workflow import merge

TODAY = datetime.date(2026, 11, 24)
DOCUMENTATION = faq.load()
KNOWN = releases.load()
NAMES = KNOWN.names()
SOME = settings(max_examples=int(os.environ.get("TE_MATRIX_EXAMPLES", "25")))
"""For what takes longer; TE_MATRIX_EXAMPLES=2000 looks more closely."""


# The FAQ.


@st.composite
def versions(draw: st.DrawFn) -> str:
    """Any version that a release may call itself, as the index writes it."""
    numbers = draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    text = ".".join(map(str, numbers))
    text += draw(st.sampled_from(["", "a1", "b2", "rc1"]))
    text += draw(st.sampled_from(["", ".post1"]))
    text += draw(st.sampled_from(["", ".dev0"]))
    return text + draw(st.sampled_from(["", "+cu12", "+71bbefb"]))


def a_release(version: str, digest: str = "0" * 64) -> Release:
    return Release(version=version, digest=digest, wheel=version, sha256="1" * 64)


def first_two(version: str) -> tuple[int, int]:
    major, minor = re.match(r"(\d+)(?:\.(\d+))?", version).groups()  # type: ignore[union-attr]
    return int(major), int(minor or 0)


def said(saver: str, loader: str) -> str:
    """The FAQ's list, sentence by sentence, by nothing but a version's first two numbers."""
    out, into = first_two(saver), first_two(loader)
    if into <= (1, 5):
        return "none" if out <= (1, 5) else "error"
    if out <= (1, 5):
        return "defaults"
    if into in ((1, 6), (1, 7)):
        return "loaded" if out in ((1, 6), (1, 7)) else "error"
    if into <= (1, 11) and out in ((1, 6), (1, 7)):
        return "defaults"
    return "loaded"


@given(versions(), versions(), st.sampled_from(["plain", "trusted"]))
def test_the_faq_is_total_and_says_what_its_sentences_say(
    saver: str, loader: str, variant: str
) -> None:
    found = DOCUMENTATION.documented(variant, a_release(saver), a_release(loader))
    assert found.outcome == said(saver, loader)
    assert bool(found.reason) == (found.outcome == "error")
    assert found.sentence


@given(versions(), versions())
def test_the_mapping_is_documented_for_one_pair_of_bands(saver: str, loader: str) -> None:
    found = DOCUMENTATION.documented("remapped", a_release(saver), a_release(loader))
    bands = [DOCUMENTATION.band(a_release(version)).name for version in (saver, loader)]
    assert found.outcome == ("loaded" if bands == ["1.6-1.7", "1.8-1.11"] else "undocumented")


@given(versions())
def test_every_version_is_in_exactly_one_band(version: str) -> None:
    minor = a_release(version).minor
    assert sum(band.holds(minor) for band in DOCUMENTATION.bands) == 1


# Selections and ranges.


@st.composite
def catalogues(draw: st.DrawFn) -> Catalogue:
    """A catalogue of releases that may never have existed, no two of one version."""
    found = draw(st.lists(versions(), min_size=1, max_size=12, unique_by=Version))
    rows = [a_release(str(Version(version))) for version in found]
    return Catalogue(tuple(sorted(rows, key=lambda release: release.order)))


@given(catalogues(), st.data())
def test_a_selection_reads_back_what_is_printed_of_it(
    known: Catalogue, data: st.DataObject
) -> None:
    names = data.draw(st.sets(st.sampled_from(known.names()), min_size=1))
    printed = ranges.text(names, known.names())
    read = selection.releases(known, DOCUMENTATION, printed)
    assert {release.name for release in read} == names
    assert [release.order for release in read] == sorted(release.order for release in read)


@given(catalogues(), st.data())
def test_a_ledgers_ranges_hold_what_is_printed_of_them(
    known: Catalogue, data: st.DataObject
) -> None:
    names = data.draw(st.sets(st.sampled_from(known.names()), min_size=1))
    within = ranges.covers(ranges.text(names, known.names()))
    assert {name for name in known.names() if within(name)} == names


@given(st.builds(Selection))
def test_a_selection_is_remembered_as_it_was_typed(typed: Selection) -> None:
    assert Selection.model_validate_json(typed.model_dump_json()) == typed


# Ledger.


@st.composite
def closed_ranges(draw: st.DrawFn) -> str:
    ends = sorted(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2)), key=Version)
    return "-".join(ends)


@st.composite
def entries(draw: st.DrawFn) -> LedgerEntry:
    observed = draw(st.sampled_from(["loaded", "defaults", "none", "error", "frozen"]))
    error: dict[str, Any] = {}
    if observed == "error":
        error = {
            "stage": draw(st.sampled_from(["deserialize", "load_state_dict"])),
            "error": draw(st.sampled_from(["KeyError", "RuntimeError"])),
            "fragment": draw(st.sampled_from(["recipe", "'recipe'", "scale"])),
        }
    return LedgerEntry(
        **entry_fields(
            draw(closed_ranges()),
            draw(closed_ranges()),
            id=draw(st.sampled_from("abcdefgh")),
            scenarios=tuple(draw(st.sets(st.sampled_from(["autocast", "mine"]), min_size=1))),
            variants=tuple(draw(st.sets(st.sampled_from(["plain", "trusted"]), min_size=1))),
            observed=observed,
            **error,
        )
    )


def deviations(entry: LedgerEntry) -> Iterable[tuple[str, ...]]:
    """Every cell of the catalogue with a deviation of it that the entry explains."""
    savers = [release.name for release in KNOWN.releases if entry.saves(release)]
    loaders = [release.name for release in KNOWN.releases if entry.loads(release)]
    places = itertools.product(entry.scenarios, entry.variants, savers, loaders)
    messages = ["recipe", "'recipe'", "scale"] if entry.observed == "error" else [""]
    for place in places:
        for message in messages:
            failure = Failure(type=entry.error or "", message=message) if message else None
            if entry.explains(entry.observed, entry.stage or "", failure):
                yield (*place, entry.observed, entry.stage or "", entry.error or "", message)


@given(entries(), entries())
def test_two_entries_that_know_one_deviation_are_refused(
    one: LedgerEntry, other: LedgerEntry
) -> None:
    assume(one.id != other.id)
    refused = False
    try:
        ledger.check_apart(tables.packaged("ledger.toml"), [one], other)
    except TableError as error:
        refused = True
        assert one.id in str(error) and other.id in str(error)
    assert refused == bool(set(deviations(one)) & set(deviations(other)))


# Judging.

SAVERS, LOADERS = ["1.5", "1.7", "1.8", "2.3"], ["1.5", "1.7", "1.11", "2.18"]
KEY_ERROR = Failure(type="KeyError", message="no 'recipe' here")
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "intact": [{}],
    "frozen": [{"frozen": True}],
    "defaults": [{"digest": "other", "default": True}],
    "partial": [{"digest": "other"}],
    "error": [{"error": KEY_ERROR}],
    "two answers": [{}, {"error": KEY_ERROR}],
}


class ImageCache:
    """What a store holds, in an order of one's own."""

    def __init__(self, records: Iterable[Any]) -> None:
        self._kept: dict[type, dict[str, list[Any]]] = {Save: {}, Load: {}, Attempt: {}}
        for record in records:
            self._kept[type(record)].setdefault(record.key, []).append(record)

    def saves(self) -> Any:
        return self._kept[Save]

    def loads(self) -> Any:
        return self._kept[Load]

    def attempts(self) -> Any:
        return self._kept[Attempt]


RECIPES = {"autocast": scenarios.load()["autocast"]}
VARIANTS = {name: scenarios.variants()[name] for name in ("plain", "trusted", "remapped")}


def a_plan(savers: list[str], loaders: list[str]) -> Plan:
    return plan_cells(
        DOCUMENTATION,
        RECIPES,
        VARIANTS,
        [KNOWN[name] for name in savers],
        [KNOWN[name] for name in loaders],
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], list[str], list[Any], list[LedgerEntry]]:
    """Savers, loaders, records and a ledger, with all that can be missing or wrong in them."""
    savers = draw(st.lists(st.sampled_from(SAVERS), min_size=1, max_size=3, unique=True))
    loaders = draw(st.lists(st.sampled_from(LOADERS), min_size=1, max_size=2, unique=True))
    made = a_plan(savers, loaders)
    index = EvidenceIndex(made, None, None)
    saves = {name: a_save(made, name) for name in made.releases if draw(st.integers(0, 4))}
    records: list[Any] = list(saves.values())
    for cell in pairs(made):
        if cell.saved_by in saves:
            good = "error" if cell.variant.startswith("control") else "intact"
            answer = draw(st.sampled_from([good, good, good, *ANSWERS]))
            for fields in ANSWERS[answer]:
                found = a_load(made, saves[cell.saved_by], cell.loaded_by, cell.variant, **fields)
                records.append(found)
        if not draw(st.integers(0, 5)):
            key = index.attempt_key(
                "autocast", cell.variant, KNOWN[cell.saved_by], KNOWN[cell.loaded_by]
            )
            kind: Any = draw(st.sampled_from(["gap", "infra", "unavailable"]))
            records.append(Attempt(key=key, kind=kind, message="m", at="1"))
    known = draw(st.lists(entries(), max_size=4, unique_by=lambda entry: entry.id))
    distinct = {(record.key, *identity(record)): record for record in records}
    return savers, loaders, list(distinct.values()), known


def identity(record: Any) -> tuple[str, ...]:
    """What a record is called by in a store, beside its key."""
    return () if isinstance(record, Attempt) else (record.observed(), record.provenance.runner)


def facts(judged: Judgement) -> Any:
    """All that is judged, by name and in no order."""
    return (
        {verdict.cell: verdict for verdict in judged.verdicts},
        {(check.release, check.scenario): check for check in judged.saves},
        {(check.release, check.control): check for check in judged.controls},
        {check.entry.id: check for check in judged.entries},
        judged.totals,
        judged.exit_code,
    )


@SOME
@given(worlds(), st.randoms(use_true_random=False))
def test_judging_is_pure_and_free_of_order(world: Any, chance: random.Random) -> None:
    savers, loaders, records, known = world
    before = [record.model_dump_json() for record in records]

    def judged(*parts: list[Any]) -> Any:
        saved_by, loaded_by, kept, excused = parts
        index = EvidenceIndex(a_plan(saved_by, loaded_by), ImageCache(kept), None)  # type: ignore[arg-type]
        return facts(judge.judge(index, DOCUMENTATION, excused, TODAY))

    first = judged(savers, loaders, records, known)
    assert judged(savers, loaders, records, known) == first
    assert [record.model_dump_json() for record in records] == before
    shuffled = [chance.sample(part, len(part)) for part in (savers, loaders, records, known)]
    assert judged(*shuffled) == first
    assert sum(first[4].values()) == len(first[0])


# The store, and merging stores.

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
PLACES = st.builds(Provenance, runner=st.sampled_from(["local", "docker"]), image=..., device=...)
SAVES = st.builds(Save, key=DIGESTS, provenance=PLACES)
LOADS = st.builds(
    Load,
    key=DIGESTS,
    provenance=PLACES,
    error=...,
    missing_keys=...,
    unexpected_keys=...,
    parts=...,
    after_load=...,
)
ATTEMPTS = st.builds(Attempt, key=DIGESTS, detail=...)
URLS = (f"memory://properties/{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Leave nothing in memory for other tests to find."""
    yield
    fsspec.filesystem("memory").store.clear()


def filled(url: str, records: Iterable[Any], files: Iterable[bytes] = ()) -> Store:
    store = Store(url)
    store.prepare()
    for record in records:
        store.add_attempt(record) if isinstance(record, Attempt) else store.add(record)
    for data in files:
        store.put_checkpoint(hashlib.sha256(data).hexdigest(), data)
    return store


def held(store: Store) -> Any:
    """All that a store holds, as text: not every number equals itself."""
    kinds = store.saves(), store.loads(), store.attempts()
    return [
        sorted(record.model_dump_json() for records in kind.values() for record in records)
        for kind in kinds
    ] + [store.checkpoints()]


def check_round_trip(url: str, record: Any) -> None:
    found = held(filled(url, [record]))
    assert found == [
        [record.model_dump_json()] if isinstance(record, kind) else []
        for kind in (Save, Load, Attempt)
    ] + [set()]


@SOME
@given(SAVES | LOADS | ATTEMPTS)
def test_any_record_comes_back_from_a_store_as_it_went_in(record: Any) -> None:
    check_round_trip(next(URLS), record)


@SOME
@given(record=SAVES | LOADS | ATTEMPTS)
def test_any_record_comes_back_from_a_folder(
    tmp_path_factory: pytest.TempPathFactory, record: Any
) -> None:
    check_round_trip(str(tmp_path_factory.mktemp("store")), record)


@SOME
@given(
    records=st.lists(SAVES | LOADS, max_size=2, unique_by=lambda record: record.model_dump_json())
)
def test_any_records_come_back_from_an_exported_file(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("export") / "evidence.jsonl"
    assert write(path, records, "2026-11-24") == len(records)
    found = [record.model_dump_json(exclude_none=True) for record in Archive(path).records()]
    assert sorted(found) == sorted(record.model_dump_json(exclude_none=True) for record in records)


@st.composite
def holdings(draw: st.DrawFn) -> list[tuple[list[Any], list[bytes]]]:
    """What three stores hold: some of it the same, some of it in contradiction."""
    keys = draw(st.lists(DIGESTS, min_size=1, max_size=2))
    place = {"key": st.sampled_from(keys)}
    few = {"recorded_at": st.sampled_from("123"), "runner": st.sampled_from(["local", "docker"])}
    when = {"provenance": st.builds(Provenance, seconds=st.just(1.0), **few)}
    seen = st.sampled_from(["one", "other"])
    pool = draw(
        st.lists(
            st.builds(Save, **place, **when, state_digest=seen, keys=st.just({}), parts=st.just(()))
            | st.builds(Load, **place, **when, missing_keys=st.tuples(seen), parts=st.just(()))
            | st.builds(Attempt, **place),
            max_size=8,
        )
    )
    files = draw(st.lists(st.binary(max_size=8), max_size=4))
    some = st.tuples(
        st.lists(st.sampled_from(pool), max_size=6) if pool else st.just([]),
        st.lists(st.sampled_from(files), max_size=3) if files else st.just([]),
    )
    return [draw(some) for _ in range(3)]


def merged(*stores: Store) -> Any:
    into = Store(next(URLS))
    found = merge.merge(stores, into)
    assert sorted(found.conflicts) == sorted(merge.merge([into], Store(next(URLS))).conflicts)
    return held(into)


@SOME
@given(holdings())
def test_merging_is_commutative_idempotent_and_associative(kept: Any) -> None:
    fsspec.filesystem("memory").store.clear()  # it looks at all there is for every folder
    one, two, three = (filled(next(URLS), *each) for each in kept)
    whole = merged(one, two, three)
    for order in itertools.permutations([one, two, three]):
        assert merged(*order) == whole
    assert merged(one, two, three, two) == whole
    assert merged(one) == held(one)
    pair = Store(next(URLS))
    merge.merge([one, two], pair)
    assert merged(pair, three) == whole
    merge.merge([pair], pair)
    assert held(pair) == merged(one, two)


SELECTIONS = st.builds(
    Selection,
    releases=st.sampled_from([None, "bands", "1.7", "1.6-1.8"]),
    saved_by=st.sampled_from([None, "1.7", "1.8"]),
    loaded_by=st.sampled_from([None, "2.3"]),
    scenario=st.sampled_from([None, "autocast", FAQ_SCENARIOS]),
    variant=st.sampled_from([None, "plain", "plain,trusted", "all"]),
    lane=st.sampled_from([None, "cpu"]),
)


def meaning(selection: Selection | None) -> Any:
    fields = selection.model_dump() if selection else {}
    return {k: set(v.split(",")) if isinstance(v, str) else v for k, v in fields.items()}


@given(SELECTIONS, SELECTIONS, SELECTIONS)
def test_joining_selections_is_commutative_and_idempotent(
    one: Selection, two: Selection, three: Selection
) -> None:
    whole = meaning(merge.joined([one, two, three]))
    for order in itertools.permutations([one, two, three]):
        assert meaning(merge.joined(order)) == whole
    assert meaning(merge.joined([one, two, three, two])) == whole
