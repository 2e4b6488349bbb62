"""Rule: of a history, the commits are named at which a behaviour changes, and no others.

Where commits cannot be judged, the range is named that is left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pytest

from matrix.errors import ExitCode
from matrix.workflow.bisecting import Turn, UnjudgedError, turns


class Graph:
    """A history in memory: parents by commit."""

    def __init__(self, parents: Mapping[str, str], originals: Mapping[str, str] = {}) -> None:
        self.originals = originals
        self.parents = {commit: text.split() for commit, text in parents.items()}

    def ancestors(self, commit: str) -> set[str]:
        """The commit and all that it comes from."""
        found, left = set[str](), [commit]
        while left:
            if (one := left.pop()) not in found:
                found.add(one)
                left += self.parents[one]
        return found

    def bases(self, one: str, other: str) -> list[str]:
        both = self.ancestors(one) & self.ancestors(other)
        older = {each for commit in both for each in self.ancestors(commit) - {commit}}
        return sorted(both - older)

    def between(self, older: Iterable[str], newer: str) -> list[str]:
        known = set[str]().union(*map(self.ancestors, older))
        return sorted(self.ancestors(newer) - known, key=lambda c: -len(self.ancestors(c)))

    def original(self, commit: str) -> str | None:
        return self.originals.get(commit)

    def halfway(self, newer: str, older: Iterable[str], skipped: Collection[str]) -> str | None:
        found = self.between(older, newer)
        left = [commit for commit in found if commit != newer and commit not in skipped]
        return left[len(left) // 2] if left else None


def line(count: int) -> Graph:
    """A history without branches: c0, c1, ..."""
    return Graph({f"c{n}": f"c{n - 1}" if n else "" for n in range(count)})


class Judged:
    """Judges commits of a line by number, and counts how many it was asked for."""

    def __init__(self, seen: Mapping[int, str | None]) -> None:
        self.seen = seen
        self.asked = set[str]()

    def __call__(self, commit: str) -> str | None:
        self.asked.add(commit)
        number = int(commit.removeprefix("c"))
        return self.seen[max(start for start in self.seen if start <= number)]


@pytest.mark.parametrize("first", [1, 2, 31, 63, 64])
def test_one_change_is_found_by_halving(first: int) -> None:
    judged = Judged({0: "error", first: "loaded"})
    (found,) = turns(line(65), "c0", "c64", judged)
    assert (found.commit, found.before, found.after) == (f"c{first}", "error", "loaded")
    assert found.exact and found.way == "has"
    assert found.parent == f"c{first - 1}"
    assert len(judged.asked) <= 2 + 7


def test_what_changes_in_two_steps_is_named_twice() -> None:
    found = turns(line(40), "c0", "c39", Judged({0: "error", 10: "defaults", 30: "loaded"}))
    assert [(turn.commit, turn.before, turn.after) for turn in found] == [
        ("c10", "error", "defaults"),
        ("c30", "defaults", "loaded"),
    ]


def test_what_changes_and_changes_back_is_left_out() -> None:
    seen = {0: "error", 10: "defaults", 20: "error", 30: "loaded"}
    asked = Judged(seen)
    found = turns(line(40), "c0", "c39", asked)
    assert found[-1].after == "loaded" and found[-1].commit == "c30"
    assert len(found) == 1


def test_ends_that_behave_alike_have_no_change() -> None:
    assert turns(line(9), "c0", "c8", Judged({0: "loaded"})) == []


def test_commits_that_cannot_be_judged_are_skipped() -> None:
    judged = Judged({0: "error", 5: None, 9: "error", 20: "loaded"})
    (found,) = turns(line(33), "c0", "c32", judged)
    assert found.commit == "c20" and found.exact


def test_a_range_that_cannot_be_judged_is_named_whole() -> None:
    judged = Judged({0: "error", 12: None, 20: "loaded"})
    (found,) = turns(line(33), "c0", "c32", judged)
    assert not found.exact
    assert found.left == tuple(f"c{n}" for n in range(20, 11, -1))
    assert (found.commit, found.parent) == ("c20", "c11")


@pytest.mark.parametrize("seen", [{0: None, 1: "loaded"}, {0: "loaded", 8: None}])
def test_an_end_that_cannot_be_judged_is_an_error(seen: dict[int, str | None]) -> None:
    with pytest.raises(UnjudgedError, match="cannot be judged") as raised:
        turns(line(9), "c0", "c8", Judged(seen))
    assert raised.value.exit_code == ExitCode.INCOMPLETE


def test_histories_without_a_common_commit_are_an_error() -> None:
    apart = Graph({"a": "", "b": ""})
    with pytest.raises(UnjudgedError, match="no common history"):
        turns(apart, "a", "b", {"a": "loaded", "b": "error"}.get)


BRANCHES = Graph(
    {
        "base": "",
        "picked-1": "base",
        "picked-2": "picked-1",
        "old-release": "picked-2",
        "main-1": "base",
        "main-2": "main-1",
        "new-release": "main-2",
    }
)
"""An older release on a branch of its own, from which the newer one does not come."""


def test_what_only_the_older_release_has_is_lacked_by_the_newer_one() -> None:
    refusing = {"picked-2", "old-release"}
    found = turns(
        BRANCHES,
        "old-release",
        "new-release",
        lambda commit: "error" if commit in refusing else "loaded",
    )
    assert [(turn.commit, turn.way) for turn in found] == [("picked-2", "lacks")]


def test_changes_on_both_branches_are_named_in_the_order_of_the_way() -> None:
    seen = {"picked-1": "a", "picked-2": "a", "old-release": "a", "base": "b", "main-1": "b"}
    found = turns(BRANCHES, "old-release", "new-release", lambda commit: seen.get(commit, "c"))
    assert [(turn.commit, turn.way) for turn in found] == [("picked-1", "lacks"), ("main-2", "has")]


def test_what_both_have_picked_is_no_change() -> None:
    seen = {"base": "a", "picked-1": "b", "picked-2": "b", "old-release": "b", "main-1": "b"}
    found = turns(BRANCHES, "old-release", "new-release", lambda commit: seen.get(commit, "c"))
    assert [(turn.commit, turn.way, *turn.ends) for turn in found] == [("main-2", "has", "b", "c")]


@pytest.mark.parametrize(
    ("at_original", "expected"),
    [("error", [("main-2", "has")]), ("loaded", [("picked-2", "lacks")])],
)
def test_what_the_newer_release_has_under_another_commit_it_does_not_lack(
    at_original: str, expected: list[tuple[str, str]]
) -> None:
    """Unless that behaves in another way than the commit that the older release picked."""
    picked = Graph(
        {name: " ".join(parents) for name, parents in BRANCHES.parents.items()},
        {"picked-2": "main-1"},
    )
    seen = {"picked-2": "error", "old-release": "error", "main-1": at_original}
    found = turns(picked, "old-release", "new-release", lambda commit: seen.get(commit, "loaded"))
    assert [(turn.commit, turn.way) for turn in found] == expected


def test_an_unjudged_base_leaves_the_newer_branch_to_search() -> None:
    seen = {"base": None, "main-1": "old", "old-release": "old"}
    found = turns(BRANCHES, "old-release", "new-release", lambda commit: seen.get(commit, "new"))
    assert [turn.commit for turn in found] == ["main-2"]


def test_a_merge_brings_no_commits_of_the_older_release_back() -> None:
    """The older release is merged by the newer one, whose other parent does not come from it."""
    merged = Graph(
        {
            "root": "",
            "ancient": "",
            "old": "ancient",
            "older": "old root",
            "main-1": "root",
            "main-2": "main-1",
            "merge": "main-2 older",
            "newer": "merge",
        }
    )
    seen = {"older": "a", "root": "a", "main-1": "b", "main-2": "b", "merge": "b", "newer": "c"}
    found = turns(merged, "older", "newer", lambda commit: seen[commit])
    assert [turn.commit for turn in found] == ["main-1", "newer"]


def test_a_turn_is_exact_if_one_commit_is_left() -> None:
    assert Turn("c2", "a", "b", "c1", ("c2",)).exact
    assert not Turn("c2", "a", "b", "c0", ("c2", "c1")).exact
