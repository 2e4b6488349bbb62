"""Follows a cell through the history, and names the commits at which its outcome changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from matrix.catalogue.changes import Basis
from matrix.system.counting import counted
from matrix.workflow import bisecting
from matrix.workflow.bisecting import Turn, Way
from matrix.workflow.commit_cells import CommitJudge, Seen, Walked, same_extension
from matrix.workflow.history import Commit, History

EXTENSION_CODE = ("transformer_engine/pytorch/csrc",)
"""Where the source of the compiled extension is, in all releases."""
_PYTHON = "transformer_engine/"
_MOST_OF_MAIN = 50
"""How far main is followed for the original of a commit, in commits: what a release branch has
was made on main before or soon after."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Located:
    """A commit, or a range of commits, at which the outcome of a cell changes."""

    basis: Basis
    """How far it was traced: ``commit``, ``range`` or ``version``."""
    way: Way
    """Whether the newer end has the commit, or lacks it."""
    commit: Commit
    """The commit; of a range the newest one."""
    main: Commit | None
    """The commit on the main branch: itself, or the one that a release branch picked."""
    alike: bool
    """Whether that is known by its changing the outcome in the same way, and by nothing else."""
    before: Seen
    """What was seen before it, on the way from the older end to the newer one."""
    after: Seen
    """What was seen after it."""
    left: tuple[str, ...]
    """The range that remains, newest first."""
    files: tuple[str, ...]
    """Its files on the path of an error; else its Python files of the package."""
    on_path: bool
    """Whether they are those on the path of an error."""
    why: str
    """Why no single commit is named; empty where one is."""

    @property
    def pulls(self) -> tuple[int, ...]:
        """The numbers of the pull requests that the commit, or the one on main, names."""
        return self.commit.pulls or (self.main.pulls if self.main else ())


Look = Callable[[str], Seen | None]
"""Returns what is seen of a cell at a commit."""


def locate(
    history: History,
    commits: CommitJudge,
    older: str,
    newer: str,
    walked: Walked,
    look: Look | None = None,
) -> list[Located]:
    """Return where the outcome of a cell changes from one commit to another, oldest first.

    :param look: what is seen at a commit; by default the cell alone is measured there.
    :returns: nothing where both ends show the same, the error and its message included.
    :raises UnjudgedError: an end cannot be judged, or they have no common history.
    """

    def alone(commit: str) -> Seen | None:
        return commits.seen(commit, [walked])[walked]

    look = look or alone
    telling = _telling(look(older), look(newer))

    def behaviour(commit: str) -> str | None:
        seen = look(commit)
        return None if seen is None else telling(seen)

    found = bisecting.turns(history, older, newer, behaviour)
    trail = _Trail(history, commits, walked, look, telling, (older, newer))
    return [trail.located(turn) for turn in found]


def _telling(one: Seen | None, other: Seen | None) -> Callable[[Seen], str]:
    """Return what tells two ends apart: the outcome, else the error's class, else its message."""
    ways: list[Callable[[Seen], str]] = [
        lambda seen: seen.outcome,
        lambda seen: f"{seen.outcome} {seen.kind}",
        lambda seen: seen.text,
    ]
    if one is None or other is None:
        return ways[0]
    return next((way for way in ways if way(one) != way(other)), ways[0])


@dataclasses.dataclass(frozen=True)
class _Trail:
    """A cell that was followed between two commits."""

    history: History
    commits: CommitJudge
    walked: Walked
    look: Look
    telling: Callable[[Seen], str]
    ends: tuple[str, str]

    def located(self, turn: Turn) -> Located:
        """Return what is known of a change that was found."""
        before, after = self.look(turn.parent), self.look(turn.commit)
        assert before is not None and after is not None
        basis, why, left = self._basis(turn, before, after)
        package = _of_package(self.history.files(turn.commit))
        met = _on_path(package, (*before.frames, *after.frames))
        picked = self.history.on_main(turn.commit)
        main = picked or self._alike_on_main(turn)
        shown = (after, before) if turn.way == "lacks" else (before, after)
        return Located(
            basis=basis,
            way=turn.way,
            commit=self.history.describe(turn.commit),
            main=main,
            alike=main is not None and picked is None,
            before=shown[0],
            after=shown[1],
            left=left,
            files=met or package,
            on_path=bool(met),
            why=why,
        )

    def _basis(self, turn: Turn, before: Seen, after: Seen) -> tuple[Basis, str, tuple[str, ...]]:
        """Return how far a change was traced, why not further, and the range that remains."""
        if not turn.exact:
            why = f"{counted(len(turn.left) - 1, 'commit')} before it could not be judged"
            return "range", why, turn.left
        if same_extension(before.version, after.version) or self._is_rebuilt(turn):
            return "commit", "", ()
        if self._does_it(turn, before, after):
            return "commit", "", ()
        left = self.history.touching(self.ends[:1], self.ends[1], *EXTENSION_CODE)
        why = (
            f"it is taken for {after.version} and the one before it for {before.version}, and the "
            "compiled extensions and recipes of these make the difference"
        )
        return "version", why, tuple(dict.fromkeys([turn.commit, *left]))

    def _does_it(self, turn: Turn, before: Seen, after: Seen) -> bool:
        """Return whether a commit makes the difference, and not the version that it is taken for.

        By a version go the stand-in for the compiled extension, and the recipes that are tried.
        So the commit before is taken for that of the commit, else the other way round.
        """
        alone = self.commits.as_version(turn.parent, after.version, self.walked)
        if alone is not None:
            return alone.outcome != after.outcome
        alone = self.commits.as_version(turn.commit, before.version, self.walked)
        return alone is not None and alone.outcome != before.outcome

    def _alike_on_main(self, turn: Turn) -> Commit | None:
        """Return the commit of main that changes the outcome of the cell in the same way.

        For commits of release branches that put several together, and do not name them.
        """
        line = self.history.main_after(turn.commit, _MOST_OF_MAIN)
        if not turn.exact or not line:
            return None

        def behaviour(commit: str) -> str | None:
            seen = self.look(commit)
            return None if seen is None else self.telling(seen)

        if None in (behaviour(line[0]), behaviour(line[-1])):
            return None
        for one in bisecting.onward(self.history, line[0], line[-1], behaviour):
            if one.exact and one.ends == (turn.before, turn.after):
                return self.history.describe(one.commit)
        return None

    def _is_rebuilt(self, turn: Turn) -> bool:
        """Return whether a commit itself changes the extension, and not the version alone."""
        return any(name.startswith(EXTENSION_CODE) for name in self.history.files(turn.commit))


def _of_package(changed: Iterable[str]) -> tuple[str, ...]:
    """Return the Python files of the package among changed ones."""
    return tuple(name for name in changed if name.startswith(_PYTHON) and name.endswith(".py"))


def _on_path(changed: Iterable[str], frames: Iterable[str]) -> tuple[str, ...]:
    """Return the changed files that an error passed through.

    :param frames: frames of errors, as ``file:function``.
    """
    met = {frame.rpartition(":")[0] for frame in frames}
    return tuple(name for name in changed if name in met)
