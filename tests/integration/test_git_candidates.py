"""Rule: a branch, a tag or a commit of the git repository is a candidate, as it was named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from matrix.cli import main
from matrix.errors import ExitCode, SourceUnavailable, UsageError
from matrix.lane import git, sources
from matrix.lane.sources import FetchedSources


class Repository:
    """A repository in a folder; every commit has a version and a line of code of its own."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder)
        folder.mkdir()
        self("init", "--quiet", "--initial-branch=main")

    def __call__(self, *words: str) -> str:
        """Run git, and return what it prints."""
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", self.url, *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, version: str, place: str = "build_tools/VERSION.txt") -> str:
        """Commit a version, and return the commit."""
        files = {
            "transformer_engine/pytorch/__init__.py": f"x = {version!r}\n",
            place: f"{version}\n",
            "README": "no part of a candidate\n",
        }
        for name, text in files.items():
            path = Path(self.url, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self("add", ".")
        self("commit", "--quiet", "--message", version)
        return self("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))
    made = Repository(tmp_path / "repository")
    monkeypatch.setenv("TE_MATRIX_GIT_URL", made.url)
    monkeypatch.chdir(tmp_path)
    return made


def described(text: str) -> tuple[str, str]:
    """The version of a candidate, and the commit that it is pinned to."""
    pinned = sources.pinned(text)
    release = sources.described(pinned)
    assert release.path == pinned
    return release.version, pinned.rpartition("@")[2]


def test_a_branch_a_tag_and_a_commit(repository: Repository) -> None:
    old = repository.commit("2.21.0")
    repository("tag", "v2.21")
    repository("tag", "--annotate", "--message", "m", "annotated")
    new = repository.commit("2.22.0.dev0")
    assert described("git:main") == ("2.22.0.dev0", new)
    for ref in ("v2.21", "annotated", old, old[:9]):
        assert described(f"git:{ref}") == ("2.21.0", old)


def test_the_version_of_an_old_tree(repository: Repository) -> None:
    commit = repository.commit("0.9.0", "VERSION")
    assert described("git:main") == ("0.9.0", commit)


def test_what_is_pinned_stays_when_the_branch_moves_and_the_repository_goes(
    repository: Repository,
) -> None:
    repository.commit("2.21.0")
    pinned = sources.pinned("git:main")
    release = sources.described(pinned)
    repository.commit("2.22.0")
    assert sources.pinned(pinned) == pinned
    shutil.rmtree(repository.url)
    assert sources.described(pinned) == release
    place = FetchedSources(offline=True).get(release)
    assert (place / "transformer_engine" / "pytorch" / "__init__.py").is_file()
    assert not (place / "README").exists()


def test_another_machine_fetches_what_is_pinned(repository: Repository, tmp_path: Path) -> None:
    repository.commit("2.21.0")
    release = sources.described(sources.pinned("git:main"))
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(SourceUnavailable, match="not cached, and --offline is set"):
        FetchedSources(offline=True).get(release)
    assert (FetchedSources().get(release) / "transformer_engine").is_dir()


@pytest.mark.parametrize("ref", ["nosuch", "", "-o", "0123456", "refs/heads/*"])
def test_a_ref_that_there_is_not(repository: Repository, ref: str) -> None:
    repository.commit("2.21.0")
    with pytest.raises(UsageError, match=r"repository has no (branch, tag or )?commit"):
        sources.pinned(f"git:{ref}")


def test_a_commit_that_there_is_not(repository: Repository) -> None:
    repository.commit("2.21.0")
    with pytest.raises(SourceUnavailable, match="cannot be used"):
        sources.described(f"git:main@{'0123' * 10}")


def test_an_abbreviated_commit_of_a_remote_repository(repository: Repository) -> None:
    commit = repository.commit("2.21.0")
    with pytest.raises(UsageError, match="finds commits by all 40 digits only"):
        git.resolve(f"file://{repository.url}", commit[:9])


def test_no_repository(repository: Repository) -> None:
    done = CliRunner().invoke(main, ["qualify", "git:main", "--git-url", "/nowhere"])
    assert done.exit_code == ExitCode.INCOMPLETE
    assert done.output.startswith("te-matrix: the git repository /nowhere cannot be used. ")
    assert done.output.count("\n") == 1


def test_a_tree_that_is_no_transformer_engine(repository: Repository) -> None:
    Path(repository.url, "README").write_text("")
    repository("add", ".")
    repository("commit", "--quiet", "--message", "m")
    with pytest.raises(UsageError, match="git:main@.* is no candidate"):
        sources.described(sources.pinned("git:main"))
