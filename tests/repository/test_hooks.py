"""Rule: the pre-commit hooks run what `nox -s lint` runs, with the locked versions."""

from __future__ import annotations

import importlib.metadata
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pre_commit.clientlib import load_config

ROOT = Path(__file__).parents[2]
HOOKS = load_config(str(ROOT / ".pre-commit-config.yaml"))["repos"][0]["hooks"]


class Session:
    """A nox session that keeps the commands instead of running them."""

    posargs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.commands: list[list[str]] = []

    def install(self, *_words: str) -> None:
        """Install nothing."""

    def run(self, *words: str, env: dict[str, str] | None = None) -> None:
        """Keep a command, its environment before it."""
        settings = [f"{name}={value}" for name, value in (env or {}).items()]
        self.commands.append([*(["env"] if settings else []), *settings, *words])


def test_hooks_run_what_the_lint_session_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("TE_MATRIX_TORCH", raising=False)
    session = Session()
    runpy.run_path("noxfile.py")["lint"](session)
    assert [shlex.split(hook["entry"]) for hook in HOOKS] == session.commands


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_installs_its_program_at_the_locked_version(hook: dict[str, Any]) -> None:
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    pins = hook["additional_dependencies"]
    assert set(pins) <= set(locked)
    program = shlex.split(hook["entry"])[0]
    files = importlib.metadata.files(Requirement(pins[0]).name) or []
    assert program == "env" or program in {file.name for file in files}


def test_nothing_is_fetched_from_a_git_host() -> None:
    repos = load_config(str(ROOT / ".pre-commit-config.yaml"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
