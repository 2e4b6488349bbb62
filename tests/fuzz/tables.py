"""TOML tables: releases, FAQ, ledger, scenarios, variants, base images, and what uses them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.builders import entry_fields
from matrix.catalogue import faq, releases, scenarios, tables
from matrix.catalogue.scenarios import Variants
from matrix.errors import MatrixError
from matrix.gate import accept
from matrix.judge import ledger
from matrix.judge.ledger import LedgerEntry
from matrix.lane.containers import lock
from matrix.plan.cells import plan_cells
from matrix.store.records import Failure

_PATH = Path(tempfile.mkdtemp(prefix="te-matrix-fuzz-")) / "table.toml"
_KNOWN = releases.load().releases[::5]
_FAQ = faq.load()


def one(data: bytes) -> None:
    """Read one input as each kind of table, and use what was read."""
    _PATH.write_bytes(data)
    for use in (_releases, _faq, _ledger, _scenarios, _variants, _images):
        try:
            use()
        except MatrixError:
            continue


def _releases() -> None:
    known = releases.load(_PATH)
    for release in known.releases:
        assert known[release.name] == release
        _FAQ.band(release)


def _faq() -> None:
    said = faq.load(_PATH)
    for saver in _KNOWN:
        for loader in _KNOWN:
            said.documented("plain", saver, loader)


def _ledger() -> None:
    for entry in ledger.load(_PATH):
        for release in _KNOWN:
            entry.saves(release), entry.loads(release)
        entry.explains("error", "load_state_dict", Failure(type="KeyError", message="'recipe'"))


def _scenarios() -> None:
    assert {len(recipe.digest) for recipe in scenarios.load(_PATH).values()} == {64}


def _variants() -> None:
    found = {variant.name: variant for variant in tables.load(_PATH, Variants).variant}
    recipes = {"autocast": scenarios.load()["autocast"]}
    plan_cells(_FAQ, recipes, found, _KNOWN, _KNOWN)


def _images() -> None:
    for base in lock.load(_PATH):
        assert base.reference
        for release in _KNOWN:
            base.serves(release)


def seeds() -> Iterator[bytes]:
    """Yield a short table of each kind."""
    for name, head in _HEADS.items():
        whole = tables.packaged(name).read_text()
        parts = whole.split(f"[[{head}]]")
        yield f"[[{head}]]".join(["", *parts[1:3]]).encode()
    yield (lock.folder() / "images.lock").read_bytes()[:2000]
    yield accept.text([LedgerEntry(**entry_fields("1.7", "1.8-2.18"))]).encode()
    yield _FAQ_TABLE
    yield _SCENARIO


_HEADS = {"releases.toml": "release", "ledger.toml": "entry", "variants.toml": "variant"}
_FAQ_TABLE = b"""source = "s"
read_in = "r"
[published]
file = "f"
line = 1
context = ["c"]
list = "l"
versions = "v"
loading = "l"
mapping = "m"
code = [">>> c"]
sha256 = "0"
[[band]]
name = "all"
printed = "p"
first = "0.0"
sentence = "s"
[[rule]]
loaded_by = ["all"]
saved_by = ["all"]
printed = "p"
variants = ["plain"]
outcome = "loaded"
sentence = "s"
"""
_SCENARIO = b"""[size.tiny]
hidden_size = 32
attention_heads = 2
[[scenario]]
name = "mine"
summary = "s"
size = "tiny"
layers = 2
weights = "fp8"
state = "all"
save_recipe = { margin = 1 }
load_recipe = {}
transport = { weights_only = false, strict = true }
"""
