"""The history of Transformer Engine's git repository: ranges of commits, and what each changed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Collection, Iterable
from typing import Protocol

from matrix.catalogue import releases
from matrix.errors import SourceUnavailable, UsageError
from matrix.lane import git
from matrix.lane.sources import GIT, cache_folder

MAIN = "main"
"""The branch on which every change is made before release branches pick it."""
_PULL = re.compile(r"\(#(\d+)\)")
_GOLDEN = 0.618


@dataclasses.dataclass(frozen=True)
class Commit:
    """One commit."""

    id: str
    """The commit, as 40 digits."""
    subject: str
    """The first line of its message."""
    date: str
    """When it was written, in ISO 8601; a cherry-pick has the date of its original."""

    @property
    def pulls(self) -> tuple[int, ...]:
        """The numbers of the pull requests that its subject names, as in ``... (#1724)``."""
        return tuple(int(number) for number in _PULL.findall(self.subject))


class Ranges(Protocol):
    """What walking a history asks of it."""

    def bases(self, one: str, other: str) -> list[str]:
        """Return the best common ancestors of two commits."""

    def halfway(self, newer: str, older: Iterable[str], skipped: Collection[str]) -> str | None:
        """Return the commit to judge next; None where none is left."""

    def between(self, older: Iterable[str], newer: str) -> list[str]:
        """Return the commits that ``newer`` has and none of ``older`` has, newest first."""

    def original(self, commit: str) -> str | None:
        """Return the commit that another one was picked from; None where none is known."""


class History:
    """A local git repository with the whole history.

    :param url: a folder, or the address of a repository, of which a mirror is kept in the cache.
    :param offline: whether the mirror is used as it is.
    :raises SourceUnavailable: it cannot be used.
    """

    def __init__(self, url: str, *, offline: bool = False) -> None:
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.repository = git.whole(url, cache_folder() / "history" / name, offline=offline)

    def _ask(self, *words: str) -> str:
        return git.answer(self.repository, *words)

    def commit(self, ref: str) -> str:
        """Return the commit of a release, tag, branch or commit, as 40 digits.

        :param ref: e.g. ``2.4``, ``v2.4``, ``git:main``. A release is its commit in the
            catalogue, else its tag, else its release branch.
        :raises UsageError: the repository has none of them.
        """
        ref = ref.removeprefix(GIT)
        names = [*_names(ref), ref]
        for name in names:
            if not name.startswith("-") and (found := self._resolved(name)):
                return found
        raise UsageError(
            f"the git repository {self.repository} has no {' nor '.join(dict.fromkeys(names))}",
            do="Name a release, tag, branch or commit; --git-url names the repository",
        )

    def _resolved(self, name: str) -> str | None:
        try:
            return self._ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        except SourceUnavailable:
            return None

    def bases(self, one: str, other: str) -> list[str]:
        """Return the best common ancestors of two commits; none where they have no history."""
        try:
            return self._ask("merge-base", "--all", one, other).split()
        except SourceUnavailable:
            return []

    def between(self, older: Iterable[str], newer: str) -> list[str]:
        """Return the commits that ``newer`` has and none of ``older`` has, newest first."""
        return self._ask("rev-list", "--topo-order", newer, *_excluded(older)).split()

    def halfway(self, newer: str, older: Iterable[str], skipped: Collection[str]) -> str | None:
        """Return the commit that halves a range best, as ``git bisect`` does.

        :param newer: the newest commit of the range; it is known, and never returned.
        :param older: commits outside of it, with all that they have.
        :param skipped: commits of it that could not be judged.
        :returns: None where every other commit was skipped, or there is none.
        """
        lines = self._ask("rev-list", "--bisect-all", newer, *_excluded(older)).splitlines()
        left = [line.split()[0] for line in lines]
        left = [commit for commit in left if commit != newer and commit not in skipped]
        if not left:
            return None
        # The best first. After a skip away from it: its neighbours are likely to fail alike.
        return left[int(len(left) * (len(skipped) * _GOLDEN % 1) ** 1.5)]

    @functools.lru_cache(maxsize=4096)  # noqa: B019  one history lives as long as the command
    def describe(self, commit: str) -> Commit:
        """Return a commit with subject and date."""
        found = self._ask("show", "--no-patch", "--format=%H%n%aI%n%s", commit).split("\n", 2)
        return Commit(id=found[0], date=found[1], subject=found[2])

    def files(self, commit: str) -> tuple[str, ...]:
        """Return the files that a commit changed against its first parent."""
        words = ("diff-tree", "-r", "--name-only", "--no-commit-id", "--root", "-m")
        return tuple(self._ask(*words, "--first-parent", commit).splitlines())

    def touching(self, older: Iterable[str], newer: str, *paths: str) -> list[str]:
        """Return the commits of a range that change any of some paths, newest first."""
        return self._ask("rev-list", newer, *_excluded(older), "--", *paths).split()

    def is_on(self, commit: str, branch: str) -> bool:
        """Return whether a branch has a commit."""
        return self.bases(commit, branch) == [commit]

    def comes_first(self, one: str, other: str) -> bool:
        """Return whether the first of two commits is the older: an ancestor, else by its date."""
        if self.is_on(one, other) or self.is_on(other, one):
            return self.is_on(one, other)
        return self._committed(one) <= self._committed(other)

    def _committed(self, commit: str) -> int:
        """Return when a commit was made, in seconds since 1970."""
        return int(self._ask("show", "--no-patch", "--format=%ct", commit))

    def on_main(self, commit: str) -> Commit | None:
        """Return the commit of the main branch that a commit of a release branch was picked from.

        It names the same pull request and was written at the same time or has the same subject,
        or it makes the same change. Returns the commit itself where the main branch has it.
        """
        mine = self.describe(commit)
        main = self._resolved(MAIN)
        if main is None:
            return None
        if self.is_on(commit, main):
            return mine
        alike = [other for other in self._on_main(main) if _alike(mine, other)]
        best = [other for other in alike if other.subject == mine.subject] or alike
        return best[0] if best else self._same_change(mine, main)

    def main_after(self, commit: str, most: int) -> list[str]:
        """Return what main has after the last commit that a commit shares with it, oldest first.

        :param most: the most commits to return.
        """
        main = self._resolved(MAIN)
        bases = self.bases(commit, main) if main else []
        if not main or not bases:
            return []
        line = self._ask("rev-list", "--first-parent", "--reverse", f"{bases[0]}..{main}").split()
        return [bases[0], *line[:most]]

    def original(self, commit: str) -> str | None:
        """Return the commit of main that another one was picked from; None where none is known."""
        found = self.on_main(commit)
        return found.id if found and found.id != commit else None

    @functools.lru_cache(maxsize=4)  # noqa: B019  one history lives as long as the command
    def _on_main(self, main: str) -> tuple[Commit, ...]:
        lines = self._ask("log", "--format=%H%x09%aI%x09%s", main).splitlines()
        parts = (line.split("\t", 2) for line in lines)
        return tuple(Commit(id=one, date=date, subject=subject) for one, date, subject in parts)

    def _same_change(self, mine: Commit, main: str) -> Commit | None:
        """Return the commit of the main branch with the same author's date and the same patch."""
        for other in self._on_main(main):
            if other.date == mine.date and self._patch(other.id) == self._patch(mine.id):
                return other
        return None

    def _patch(self, commit: str) -> tuple[str, ...]:
        """Return the lines that a commit adds and removes: what a cherry-pick leaves as it is."""
        text = self._ask("show", "--format=", "--unified=0", commit)
        return tuple(line for line in text.splitlines() if line[:1] in "+-")


def _names(ref: str) -> list[str]:
    """Return the names that a catalogued release may have in the repository."""
    known = {release.name: release for release in releases.load().releases}
    if ref not in known:
        return []
    release = known[ref]
    branch = "release_v{}.{}".format(*release.minor)
    return [*filter(None, (release.commit, f"v{ref}")), branch]


def _excluded(older: Iterable[str]) -> list[str]:
    return [f"^{commit}" for commit in older]


def _alike(mine: Commit, other: Commit) -> bool:
    same_pull = bool(set(mine.pulls) & set(other.pulls))
    return mine.subject == other.subject or (same_pull and mine.date == other.date)
