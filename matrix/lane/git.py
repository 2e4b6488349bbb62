"""Trees of the project's git repository, or of a mirror of it, at one commit."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

from matrix.errors import SourceUnavailable, UsageError
from matrix.system import cleanup
from matrix.system.unpacking import unpack

GIT_URL = "https://github.com/NVIDIA/TransformerEngine.git"
GIT_TIMEOUT = 300
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")


def chosen_url(given: str | None) -> str:
    """Return the git repository to use: the one given, the environment's, the public one."""
    return given or os.environ.get("TE_MATRIX_GIT_URL") or GIT_URL


def export(url: str, commit: str, folder: Path, *paths: str) -> None:
    """Unpack those of the paths that one commit has; it is fetched, shallow, from a remote.

    :param folder: where to unpack.
    :raises SourceUnavailable: the repository cannot be used.
    """
    with cleanup.scratch() as work:
        git = ["git", "-C", url if Path(url).is_dir() else _fetched(url, commit, work)]
        there = _git(url, [*git, "ls-tree", "--name-only", commit, *paths]).splitlines()
        tree = Path(work) / "tree.tar"
        _git(url, [*git, "archive", "--output", str(tree.resolve()), commit, *there])
        with tarfile.open(tree) as archive:
            unpack(archive, folder)


def _fetched(url: str, commit: str, work: str) -> str:
    """Fetch one commit, shallow, into a folder, and return the folder."""
    _git(url, ["git", "-C", work, "init", "--quiet", "--bare"])
    _git(url, ["git", "-C", work, "fetch", "--quiet", "--depth=1", url, commit])
    return work


def whole(url: str, place: Path, *, offline: bool = False) -> str:
    """Return a local repository with the whole history: the one given, or a mirror of it.

    :param place: where a mirror of a remote repository is kept; it is brought up to date.
    :param offline: whether the mirror is used as it is.
    :raises SourceUnavailable: the repository cannot be used, or there is no mirror of it yet.
    """
    if Path(url).is_dir():
        _git(url, ["git", "-C", url, "rev-parse", "--git-dir"])
        return url
    if offline and not place.is_dir():
        raise _gone(url, "there is no mirror of it in the cache, and --offline is set")
    if place.is_dir():
        if not offline:
            _git(url, ["git", "-C", str(place), "fetch", "--quiet", "--tags"])
        return str(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=cleanup.mark(cleanup.PART)) as work:
        _git(url, ["git", "clone", "--quiet", "--mirror", "--", url, f"{work}/repository"])
        Path(work, "repository").rename(place)
    return str(place)


def answer(repository: str, *words: str) -> str:
    """Return what git prints for a local repository, without the last line feed.

    :raises SourceUnavailable: git refuses.
    """
    return _git(repository, ["git", "-C", repository, *words]).rstrip("\n")


def resolve(url: str, ref: str) -> str:
    """Return the commit that a branch, a tag or a commit names, as 40 digits.

    :raises UsageError: the repository has no such ref.
    :raises SourceUnavailable: the repository cannot be used.
    """
    if _COMMIT.fullmatch(ref):
        return ref
    if ref and not ref.startswith("-"):
        names = [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
        listed = _git(url, ["git", "ls-remote", "--", url, *names]).splitlines()
        found = {line.partition("\t")[2]: line.partition("\t")[0] for line in listed}
        for name in names:
            if name in found:
                return found[name]
        if _ABBREVIATED.fullmatch(ref) and Path(url).is_dir():
            return _abbreviated(url, ref)
    abbreviated = "a remote repository finds commits by all 40 digits only"
    raise UsageError(
        f"the git repository {url} has no branch, tag or commit {ref!r}",
        why=abbreviated if _ABBREVIATED.fullmatch(ref) else "",
        do="Name a ref as in git:main, git:v2.4 or git:COMMIT; --git-url names the repository",
    )


def _abbreviated(url: str, ref: str) -> str:
    try:
        words = ["git", "-C", url, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"]
        return _git(url, words).strip()
    except SourceUnavailable as error:
        raise UsageError(f"the git repository {url} has no commit {ref}") from error


def _git(url: str, command: list[str]) -> str:
    environment = dict(os.environ, GIT_TERMINAL_PROMPT="0")
    if Path(url).is_dir():
        # A folder that is no repository is not to be taken for one that it lies in.
        environment["GIT_CEILING_DIRECTORIES"] = str(Path(url).resolve().parent)
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT,
            env=environment,
        )
    except FileNotFoundError as error:
        raise _gone(url, "git is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise _gone(url, f"no answer within {GIT_TIMEOUT} s") from error
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [f"exit status {error.returncode}"]
        fatal = [line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")]
        raise _gone(url, (fatal or lines[-1:])[0]) from error
    return done.stdout


def _gone(url: str, why: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"the git repository {url} cannot be used",
        why=why,
        do="Point TE_MATRIX_GIT_URL or --git-url at a mirror",
    )
