"""Finds the commits at which a behaviour changes, by halving ranges of a git history.

What is judged is a text, so that this works for any behaviour: two commits behave alike if
their texts are equal. ``None`` says that a commit could not be judged; it is skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from matrix.errors import ExitCode, MatrixError
from matrix.workflow.history import Ranges

Judge = Callable[[str], str | None]
"""Returns the behaviour at a commit, or None where it could not be judged."""

Way = Literal["has", "lacks"]
"""Whether the newer of two releases has the commit that makes the difference, or lacks it."""


class UnjudgedError(MatrixError):
    """An end of the range cannot be judged, or the ends have no common history."""

    exit_code = ExitCode.INCOMPLETE


@dataclasses.dataclass(frozen=True)
class Turn:
    """A commit, or a range of commits, at which the behaviour changes."""

    commit: str
    """The first commit that is known to behave in the new way."""
    before: str
    """The behaviour before it."""
    after: str
    """The behaviour at it."""
    parent: str
    """A commit known to behave as before; where the range is one commit, next before it."""
    left: tuple[str, ...]
    """The range that remains, newest first: the commit, and those that could not be judged."""
    way: Way = "has"
    """``has``: the newer release has the commit. ``lacks``: the older one has it, on a release
    branch that the newer one does not come from, and the change is that it is not there."""

    @property
    def ends(self) -> tuple[str, str]:
        """The behaviour before and after it on the way from the older end to the newer one."""
        return (self.after, self.before) if self.way == "lacks" else (self.before, self.after)

    @property
    def exact(self) -> bool:
        """Whether one commit is left."""
        return len(self.left) == 1


def turns(history: Ranges, older: str, newer: str, judge: Judge) -> list[Turn]:
    """Return where the behaviour changes on the way from one commit to another, oldest first.

    What changes and changes back is left out, such as a commit that both ends have picked.
    Where the older one lies on a branch that the newer one does not come from, the way leads
    through their common ancestor, as in ``git bisect``.

    :raises UnjudgedError: an end cannot be judged, or they have no common history.
    """
    start, end = (_judged(judge, commit) for commit in (older, newer))
    if start == end:
        return []
    bases = history.bases(older, newer)
    if not bases:
        raise UnjudgedError(f"{older[:9]} and {newer[:9]} have no common history")
    base = bases[0]
    middle = judge(base)
    if middle is None:
        # Nothing is known of the common ancestor: what both have is left out, unjudged.
        return _without_loops(onward(history, older, newer, judge))
    down = [dataclasses.replace(one, way="lacks") for one in onward(history, base, older, judge)]
    # What the older end has picked, the newer one may have under another commit. Where that
    # behaves like the older end, the way goes on from there.
    for picked in down[-1:]:
        original = history.original(picked.commit)
        if original and history.bases(original, newer) == [original] and judge(original) == start:
            return _without_loops(onward(history, original, newer, judge))
    return _without_loops([*reversed(down), *onward(history, base, newer, judge)])


def _without_loops(way: Iterable[Turn]) -> list[Turn]:
    """Return a way without the parts of it that lead back to a behaviour that it came from."""
    kept: list[Turn] = []
    for turn in way:
        kept.append(turn)
        starts = [one.ends[0] for one in kept]
        if turn.ends[1] in starts:
            del kept[starts.index(turn.ends[1]) :]
    return kept


def _judged(judge: Judge, commit: str) -> str:
    seen = judge(commit)
    if seen is None:
        raise UnjudgedError(
            f"commit {commit[:9]} cannot be judged",
            why="it cannot be imported here, or does what the cpu lane does not emulate",
            do="Choose other ends of the range",
        )
    return seen


def onward(history: Ranges, older: str, newer: str, judge: Judge) -> Iterator[Turn]:
    """Yield the changes from a commit to one that comes from it, the first one first.

    :param older, newer: commits that can be judged.
    """
    passed: list[str] = []
    while judge(older) != judge(newer):
        # A branch may merge what an earlier commit does not come from, but the older one does.
        passed.append(older)
        found = _first(history, passed, newer, judge)
        yield found
        older = found.commit


def _first(history: Ranges, passed: Sequence[str], newer: str, judge: Judge) -> Turn:
    """Return the first change: where the behaviour stops to be that of the last commit passed.

    :param passed: commits outside of the range, with all that they have.
    """
    before = judge(passed[-1])
    assert before is not None
    same, skipped, tip = list(passed), set[str](), newer
    while (commit := history.halfway(tip, same, skipped)) is not None:
        seen = judge(commit)
        if seen is None:
            skipped.add(commit)
        elif seen == before:
            same.append(commit)
        else:
            tip = commit
    after = judge(tip)
    assert after is not None
    return Turn(tip, before, after, same[-1], tuple(history.between(same, tip)))
