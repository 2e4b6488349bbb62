"""Rule: ``te-matrix bisect`` names the commit at which real release code changes its outcome."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from helpers.running import broken_copy
from matrix.cli import main
from matrix.errors import ExitCode

CELL = "attention-only/trusted/1.11->2.17.1"
BASE = "transformer_engine/pytorch/module/base.py"


class Releases:
    """A repository that begins with the code of 2.17.1 and breaks it by and by."""

    def __init__(self, root: Path) -> None:
        self.root = broken_copy(root, "pytorch/__init__.py", r"\Z", "\n")
        self("init", "--quiet", "--initial-branch=main")
        self.first = self.commit("Release 2.17.1")

    def __call__(self, *words: str) -> str:
        """Run git, and return what it prints."""
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "gc.auto=0"]
        command = ["git", "-C", str(self.root), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, subject: str, file: str = "", pattern: str = "", text: str = "") -> str:
        """Commit, with one place in a file changed."""
        if file:
            path = self.root / file
            changed, count = re.subn(pattern, text, path.read_text(), count=1)
            assert count == 1
            path.write_text(changed)
        self("add", ".")
        self("commit", "--quiet", "--allow-empty", "--message", subject)
        return self("rev-parse", "HEAD")

    def touch(self, subject: str) -> str:
        """Commit a change of a comment."""
        return self.commit(subject, "transformer_engine/pytorch/__init__.py", r"\Z", "\n# More.\n")

    def bisect(self, *words: str) -> Result:
        """Run the command on the repository."""
        return CliRunner().invoke(main, ["bisect", *words, "--git-url", str(self.root)])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Releases:
    monkeypatch.chdir(tmp_path)
    return Releases(tmp_path / "repository")


def test_the_commit_that_breaks_a_load_is_named(made: Releases) -> None:
    made.touch("Change a comment (#1)")
    made.commit(
        "Cannot be imported (#2)", "transformer_engine/pytorch/__init__.py", r"\A", "1 / 0\n"
    )
    made.commit("Can be again (#3)", "transformer_engine/pytorch/__init__.py", r"\A1 / 0\n", "")
    made.touch("Change a comment again (#4)")
    guilty = made.commit(
        "Forget the history (#5)", BASE, r'copy_tensor\(state\["amax_history_fwd"\].*\n', "pass\n"
    )
    made.touch("Change the last comment (#6)")
    result = made.bisect(CELL, "--good", made.first, "--bad", "main", "--json")
    assert result.exit_code == ExitCode.OK, result.output
    found = json.loads(result.stdout)
    (change,) = found["changes"]
    assert change["commit"]["id"] == change["main"]["id"] == guilty
    assert (change["basis"], change["way"], change["pulls"]) == ("commit", "has", [5])
    assert change["before"]["outcome"] == "loaded" and change["after"]["outcome"] == "partial"
    assert change["files"] == [BASE]
    again = made.bisect(CELL, "--good", made.first, "--bad", "main")
    assert again.exit_code == ExitCode.OK
    assert f"\n{guilty}\n" in again.stdout and "pull request: #5" in again.stdout


def test_commits_that_cannot_be_imported_leave_a_range(made: Releases) -> None:
    init = "transformer_engine/pytorch/__init__.py"
    broken = made.commit("Cannot be imported", init, r"\A", "1 / 0\n")
    made.commit(
        "Raise",
        BASE,
        r"(def set_extra_state\(self.*\n(?:.*\n)*?.*\"\"\"\n)",
        r"\1        {}['gone']\n",
    )
    mended = made.commit("Can be again", init, r"\A1 / 0\n", "")
    result = made.bisect(CELL, "--good", made.first, "--bad", mended, "--json")
    assert result.exit_code == ExitCode.INCOMPLETE, result.output
    (change,) = json.loads(result.stdout)["changes"]
    assert change["basis"] == "range" and "2 commits before it could not be judged" in change["why"]
    assert change["left"][0] == mended and change["left"][-1] == broken


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((CELL, "--good", "main", "--bad", "main"), "nothing changes: main and main both show"),
        ((CELL, "--good", "main"), "bisect takes a cell, --good and --bad"),
        ((CELL, "--good", "main", "--bad", "nosuch"), "has no nosuch"),
        (("1.11->2.3", "--good", "main", "--bad", "main"), "'1.11->2.3' is no cell"),
        (("autocas/plain/1.11->2.3", "--good", "a", "--bad", "b"), "there is no scenario autocas"),
        (("autocast/plain/1.99->2.3", "--good", "a", "--bad", "b"), "there is no release 1.99"),
        (("autocast/rewrite:2.4/1.11->2.4", "--good", "a", "--bad", "b"), "releases of the cat"),
        ((CELL, "--all"), "--all takes no cell and no ends"),
        ((CELL, "--good", "main", "--bad", "main", "--dry-run"), "go with --all"),
        (("--all", "--releases", "2.20.2"), "at none of these releases a behaviour changes"),
    ],
)
def test_a_mistake_is_one_sentence(made: Releases, words: tuple[str, ...], message: str) -> None:
    result = made.bisect(*words)
    assert result.exit_code == ExitCode.USAGE, result.output
    assert message in result.output and "Traceback" not in result.output


def test_what_there_is_to_trace_is_estimated(made: Releases) -> None:
    made("tag", "v2.17")
    made("tag", "v2.17.1")
    words = ("--all", "--releases", "2.17.1", "--scenario", "attention-only", "--dry-run", "--json")
    found = json.loads(made.bisect(*words).stdout)
    assert found["pairs_of_releases"] == 1 and found["differences"] > 0 and found["commits"] > 0


HISTORY = os.environ.get("TE_MATRIX_GIT_URL", "")


@pytest.mark.skipif(not Path(HISTORY, "refs").is_dir(), reason="needs a mirror of the history")
def test_the_commit_that_made_states_of_1x_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On release_v2.4 it is a cherry-pick; main has it under another commit."""
    monkeypatch.chdir(tmp_path)
    words = ["bisect", "autocast/plain/1.13->2.4", "--good", "2.4", "--bad", "2.3", "--json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == ExitCode.OK, result.output
    (change,) = json.loads(result.stdout)["changes"]
    assert change["commit"]["id"].startswith("6f5af6ae2")
    assert change["main"]["id"].startswith("730fd115e")
    assert change["pulls"] == [1724]
    assert change["before"]["reason"] == "KeyError at load_state_dict: 'recipe'"
    assert change["after"]["outcome"] == "loaded"
    assert change["files"] == ["transformer_engine/pytorch/module/base.py"] and change["on_path"]
