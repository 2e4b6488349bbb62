"""Rule: ranges, pull requests and originals of picked commits are read from git itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from matrix.errors import SourceUnavailable, UsageError
from matrix.workflow.bisecting import turns
from matrix.workflow.history import History


class Repository:
    """A repository in a folder, of which every commit sets the one file to a text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.clock = 1_700_000_000
        self("init", "--quiet", "--initial-branch=main")

    def __call__(self, *words: str) -> str:
        """Run git, and return what it prints."""
        self.clock += 60
        when = f"{self.clock} +0000"
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(self.folder), *who, *words]
        times = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **times}
        )
        return done.stdout.strip()

    def commit(self, subject: str, behaviour: str = "error", file: str = "") -> str:
        """Commit a behaviour, and a file of its own so that no commit is empty."""
        (self.folder / "behaviour").write_text(behaviour)
        path = self.folder / (file or f"files/{self.clock}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{self.clock}\n")
        self("add", ".")
        self("commit", "--quiet", "--message", subject)
        return self("rev-parse", "HEAD")

    def judge(self, commit: str) -> str | None:
        """The behaviour at a commit; None where it is to be skipped."""
        text = self("show", f"{commit}:behaviour")
        return None if text == "broken" else text


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def history(made: Repository) -> History:
    return History(str(made.folder))


def test_the_commit_is_found_and_its_pull_request_named(made: Repository) -> None:
    first = made.commit("Start")
    for number in range(20):
        made.commit(f"Other {number} (#{number + 1})")
    wanted = made.commit("[PyTorch] Read older states (#1724)", "loaded")
    for number in range(20):
        made.commit(f"Later {number} (#{number + 30})", "loaded")
    found = history(made)
    (turn,) = turns(found, first, found.commit("main"), made.judge)
    commit = found.describe(turn.commit)
    assert (commit.id, commit.pulls) == (wanted, (1724,))
    assert found.on_main(wanted) == commit


def test_commits_that_do_not_run_leave_a_range(made: Repository) -> None:
    first = made.commit("Start")
    same = made.commit("Still the same")
    broken = [made.commit(f"Broken {number}", "broken") for number in range(5)]
    mended = made.commit("Mended", "loaded")
    last = made.commit("Last", "loaded")
    (turn,) = turns(history(made), first, last, made.judge)
    assert turn.left == (mended, *reversed(broken))
    assert (turn.commit, turn.parent) == (mended, same)


def test_a_picked_commit_has_its_original_on_main(made: Repository) -> None:
    fork = made.commit("Start")
    made("branch", "release_v1.0")
    original = made.commit("Read older states (#7)", "loaded")
    made.commit('Revert "Read older states (#7)" (#9)', "error")
    made("checkout", "--quiet", "release_v1.0")
    made.commit("Change version")
    made("cherry-pick", original)
    picked = made("rev-parse", "HEAD")
    assert picked != original
    found = history(made)
    (turn,) = turns(found, fork, picked, made.judge)
    assert turn.commit == picked
    on_main = found.on_main(picked)
    assert on_main is not None and on_main.id == original
    assert not found.is_on(picked, "main") and found.is_on(original, "main")


def test_a_picked_commit_of_another_subject_is_known_by_its_change(made: Repository) -> None:
    made.commit("Start", file="files/a")
    made("branch", "release_v1.0")
    original = made.commit("Read older states", "loaded", file="files/a")
    made("checkout", "--quiet", "release_v1.0")
    made.commit("Change version", file="files/b")
    made("cherry-pick", original)
    date = made("show", "--no-patch", "--format=%aI", original)
    made("commit", "--quiet", "--amend", "--message", "Backport", "--date", date)
    on_main = history(made).on_main(made("rev-parse", "HEAD"))
    assert on_main is not None and on_main.id == original


def test_a_commit_of_the_release_branch_alone_has_no_original(made: Repository) -> None:
    made.commit("Start")
    made("checkout", "--quiet", "-b", "release_v1.0")
    own = made.commit("Only here", "loaded")
    assert history(made).on_main(own) is None


def test_a_release_is_its_tag_or_its_branch(made: Repository) -> None:
    tagged = made.commit("Release 2.4")
    made("tag", "v2.4")
    made("branch", "release_v2.19")
    later = made.commit("Later")
    found = history(made)
    assert found.commit("2.4") == found.commit("v2.4") == tagged
    assert found.commit("2.19") == tagged
    assert found.commit("git:main") == later
    with pytest.raises(UsageError, match=r"has no v2\.5 nor release_v2\.5 nor 2\.5"):
        found.commit("2.5")
    with pytest.raises(UsageError):
        found.commit("--all")


def test_a_remote_repository_is_mirrored_and_brought_up_to_date(
    made: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))
    made.commit("Start")
    url = made.folder.as_uri()
    with pytest.raises(SourceUnavailable, match="no mirror of it in the cache"):
        History(url, offline=True)
    assert History(url).commit("main") == made("rev-parse", "main")
    later = made.commit("Later")
    assert History(url, offline=True).commit("main") != later
    assert History(url).commit("main") == later
    assert [path.name for path in (tmp_path / "cache" / "history").iterdir()] == [
        Path(History(url).repository).name
    ]


def test_which_of_two_commits_comes_first(made: Repository) -> None:
    first = made.commit("Start")
    made("checkout", "--quiet", "-b", "release_v1.0")
    side = made.commit("On the branch")
    made("checkout", "--quiet", "main")
    last = made.commit("On main")
    found = history(made)
    assert found.comes_first(first, last) and not found.comes_first(last, first)
    assert found.comes_first(side, last) and not found.comes_first(last, side)


def test_a_folder_in_a_repository_is_none(made: Repository) -> None:
    made.commit("Start", file="files/a")
    with pytest.raises(SourceUnavailable, match="Not a git repository"):
        History(str(made.folder / "files"))
