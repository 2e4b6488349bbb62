"""Rule: the ready pipeline files are what the two services take, and call what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import check_jsonschema
import click
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from matrix.cli import main

FOLDER = Path(__file__).parents[2] / "docs" / "ci"
SCHEMAS = {"github.yml": "vendor.github-workflows", "gitlab.yml": "vendor.gitlab-ci"}


def check(name: str, path: Path) -> int:
    words = ["--builtin-schema", SCHEMAS[name], str(path)]
    if name == "gitlab.yml":
        words = ["--data-transform", "gitlab-ci", *words]
    return CliRunner().invoke(check_jsonschema.main, words).exit_code


def test_each_file_has_its_schema() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_takes_it(name: str) -> None:
    assert check(name, FOLDER / name) == 0


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("github.yml", "runs-on:", "run-on:"),
        ("gitlab.yml", "codequality:", "code_quality:"),
    ],
)
def test_a_slip_would_be_seen(name: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text()
    assert right in text
    (tmp_path / name).write_text(text.replace(right, wrong))
    assert check(name, tmp_path / name) == 1


def commands(found: Any) -> list[str]:
    """Return every line of every script in a pipeline file."""
    if isinstance(found, dict):
        return [
            line
            for key, value in found.items()
            for line in (
                value.splitlines()
                if key == "run"
                else list(value)
                if key == "script"
                else commands(value)
            )
        ]
    return [line for one in found for line in commands(one)] if isinstance(found, list) else []


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_command_that_it_calls_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    found = [
        shlex.split(line)[1:]
        for line in commands(YAML(typ="safe").load((FOLDER / name).read_text()))
        if line.startswith("te-matrix ")
    ]
    assert [words[0] for words in found] == ["run", "gate"]
    for command, *words in found:
        main.commands[command].make_context(command, words)
    with pytest.raises(click.UsageError):
        main.commands["gate"].make_context("gate", ["--nosuch"])


def test_what_is_gated_is_what_is_kept() -> None:
    """Artifacts are looked for where the commands write them."""
    text = (FOLDER / "gitlab.yml").read_text()
    written = set(re.findall(r"--(?:junit|code-quality) (\S+)", text))
    assert written == set(re.findall(r"(?:junit|codequality): (\S+)", text))
