"""Rule: a commit is named only for what it did itself, and its original where one is found."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import cast

import pytest

from matrix.workflow.commit_cells import CommitJudge, Seen, Walked, same_extension
from matrix.workflow.history import Commit, History
from matrix.workflow.locating import Located, locate

CELL = Walked("autocast", "plain", "1.13", "loader")
BASE = "transformer_engine/pytorch/module/base.py"
OTHER = "transformer_engine/pytorch/attention.py"
FRAMES = ("torch/nn/modules/module.py:load", f"{BASE}:set_extra_state")


def seen(outcome: str, version: str = "2.4.0", error: str = "KeyError: 'recipe'") -> Seen:
    kind = error.partition(":")[0] if outcome == "error" else ""
    frames = FRAMES if kind else ()
    return Seen(outcome, error if kind else "", kind, frames, version)


class Two:
    """Two commits, old and new; and, on main, two others."""

    def __init__(self, files: Iterable[str] = (BASE, OTHER), original: str | None = "new") -> None:
        self.changed = tuple(files)
        self.picked = original

    def bases(self, one: str, other: str) -> list[str]:
        return [one if one in ("old", "main-old") else other]

    def between(self, _older: Iterable[str], newer: str) -> list[str]:
        return [newer]

    def halfway(self, newer: str, older: Iterable[str], skipped: Collection[str]) -> None:
        return None

    def original(self, _commit: str) -> None:
        return None

    def describe(self, commit: str) -> Commit:
        number = "" if commit == "new" else " (#7)"
        return Commit(id=commit, subject=f"Change{number}", date="2025-05-19")

    def on_main(self, commit: str) -> Commit | None:
        return self.describe(self.picked) if self.picked else None

    def main_after(self, _commit: str, _most: int) -> list[str]:
        return ["main-old", "main-new"]

    def files(self, _commit: str) -> tuple[str, ...]:
        return self.changed

    def touching(self, *_range: object) -> list[str]:
        return ["built-2", "built-1"]


class Measured:
    """Sees what it is told; with another extension, what it is told of that."""

    def __init__(self, told: dict[str, Seen], alone: dict[str, Seen] | None = None) -> None:
        self.told = told
        self.alone = alone or {}
        self.asked: list[tuple[str, str]] = []

    def seen(self, commit: str, cells: Iterable[Walked]) -> dict[Walked, Seen | None]:
        return {cell: self.told.get(commit) for cell in cells}

    def as_version(self, commit: str, version: str, _cell: Walked) -> Seen | None:
        self.asked.append((commit, version))
        return self.alone.get(commit)


def located(history: Two, measured: Measured) -> list[Located]:
    places = cast("History", history), cast("CommitJudge", measured)
    return locate(*places, "old", "new", CELL)


def test_the_files_named_are_those_that_the_error_passed_through() -> None:
    told = {"old": seen("error"), "new": seen("loaded")}
    (found,) = located(Two(), Measured(told))
    assert (found.basis, found.files, found.on_path) == ("commit", (BASE,), True)
    assert found.before.outcome == "error" and found.after.outcome == "loaded"
    told = {"old": seen("defaults"), "new": seen("loaded")}
    (found,) = located(Two(["README.rst", BASE, OTHER]), Measured(told))
    assert (found.files, found.on_path) == ((BASE, OTHER), False)


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        (seen("error"), seen("error", error="EOFError: "), 1),
        (seen("error"), seen("error", error="KeyError: 'scale'"), 1),
        (seen("error"), seen("error"), 0),
        (seen("loaded"), seen("loaded"), 0),
    ],
)
def test_errors_are_told_apart_by_class_and_then_by_message(
    old: Seen, new: Seen, count: int
) -> None:
    assert len(located(Two(), Measured({"old": old, "new": new}))) == count


@pytest.mark.parametrize(
    ("files", "alone", "basis"),
    [
        ([BASE], {"old": seen("loaded")}, "version"),
        ([BASE], {"old": seen("error")}, "commit"),
        ([BASE], {"new": seen("error")}, "version"),
        ([BASE], {"new": seen("loaded")}, "commit"),
        ([BASE], {}, "version"),
        ([BASE, "transformer_engine/pytorch/csrc/common.h"], {}, "commit"),
    ],
)
def test_what_the_extension_alone_does_is_not_said_of_the_commit(
    files: list[str], alone: dict[str, Seen], basis: str
) -> None:
    """The stand-in is that of another release on either side of it."""
    measured = Measured({"old": seen("error", "2.3.0"), "new": seen("loaded", "2.4.0.dev0")}, alone)
    (found,) = located(Two(files), measured)
    assert found.basis == basis
    assert (found.left, bool(found.why)) == (
        (("new", "built-2", "built-1"), True) if basis == "version" else ((), False)
    )
    assert measured.asked in (
        [],
        [("old", "2.4.0.dev0")],
        [("old", "2.4.0.dev0"), ("new", "2.3.0")],
    )


def test_versions_with_the_extension_of_one_release() -> None:
    assert same_extension("2.4.0", "2.4.0.dev0")
    assert same_extension("2.4", "2.4.0.dev0+abc")
    assert not same_extension("2.3.0", "2.4.0.dev0")
    assert same_extension("2.16.0", "2.16.1")
    assert not same_extension("1.7.0", "1.8.0.dev0")
    assert same_extension("99.0", "99.1")
    assert same_extension("0.1", "0.2")


def test_an_original_is_found_by_its_effect_where_nothing_names_it() -> None:
    told = {"old": seen("error"), "new": seen("loaded")}
    main = {"main-old": seen("error"), "main-new": seen("loaded")}
    (found,) = located(Two(original=None), Measured(told | main))
    assert found.main is not None and found.main.id == "main-new" and found.alike
    assert found.pulls == (7,)
    other = {"main-old": seen("error"), "main-new": seen("defaults")}
    (found,) = located(Two(original=None), Measured(told | other))
    assert found.main is None and not found.alike
    (found,) = located(Two(original=None), Measured(told))
    assert found.main is None
