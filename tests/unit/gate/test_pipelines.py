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

from matrix import __version__
from matrix.cli import main
from matrix.gate import pipelines

FOLDER = Path(__file__).parents[3] / "docs" / "ci"
SCHEMAS = {"github.yml": "vendor.github-workflows", "gitlab.yml": "vendor.gitlab-ci"}
SELECTION = ["--releases", "1.7,2.4-2.9", "--candidate", "my tree"]


def check(name: str, path: Path) -> int:
    words = ["--builtin-schema", SCHEMAS[name], str(path)]
    if name == "gitlab.yml":
        words = ["--data-transform", "gitlab-ci", *words]
    return CliRunner().invoke(check_jsonschema.main, words).exit_code


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A folder with the files of three shards."""
    options = ["--shards", "3", "--output", str(tmp_path / "ci")]
    done = CliRunner().invoke(main, ["ci", *options, "--releases", "1.7,2.4-2.9"])
    assert done.exit_code == 0, done.output
    return tmp_path / "ci"


def test_each_file_has_its_schema(sharded: Path) -> None:
    for folder in (FOLDER, sharded):
        assert {path.name for path in folder.iterdir() if path.is_file()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_service_takes_it(name: str, sharded: Path) -> None:
    for folder in (FOLDER, sharded):
        assert check(name, folder / name) == 0


@pytest.mark.parametrize(("service", "name"), pipelines.NAMES.items())
def test_shards_are_run_merged_and_gated(service: str, name: str) -> None:
    text = pipelines.render(service, 3, SELECTION)
    found = [
        shlex.split(line.replace("${{ matrix.shard }}", "$SHARD"))
        for line in commands(YAML(typ="safe").load(text))
        if line.startswith("te-matrix ")
    ]
    assert [words[1] for words in found] == ["run", "merge", "report", "gate"]
    assert found[0][2:6] == SELECTION
    for _program, command, *words in found:
        main.commands[command].make_context(command, words)
    part = {"github": "$SHARD/3", "gitlab": "$CI_NODE_INDEX/$CI_NODE_TOTAL"}[service]
    assert found[0][6:8] == ["--shard", part]
    loaded = YAML(typ="safe").load(text)
    count = (
        len(loaded["jobs"]["shard"]["strategy"]["matrix"]["shard"])
        if service == "github"
        else loaded["fp8-checkpoints-shard"]["parallel"]
    )
    assert count == 3


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--shards", "99"], "cannot be split in 99"),
        (["--shards", "2", "--runner", "docker"], "are for the cpu lane"),
        (["--shards", "0"], "0 is not in the range"),
    ],
)
def test_shards_that_cannot_be(words: list[str], named: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["ci", *words, "--output", str(tmp_path)])
    assert done.exit_code == 2
    assert named in done.output
    assert not list(tmp_path.iterdir())


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


SHARED = FOLDER / "qualify"
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-actions", SHARED / "action.yml"),
        ("vendor.github-workflows", ROOT / ".github" / "workflows" / "release.yml"),
        ("vendor.citation-file-format", ROOT / "CITATION.cff"),
    ],
)
def test_the_other_files_have_their_schemas(schema: str, path: Path) -> None:
    words = ["--builtin-schema", schema, str(path)]
    assert CliRunner().invoke(check_jsonschema.main, words).exit_code == 0


def test_the_component_is_what_gitlab_takes(tmp_path: Path) -> None:
    """Its first document declares inputs, each of which the second one uses."""
    spec, jobs = YAML(typ="safe").load_all((SHARED / "gitlab-component.yml").read_text())
    text = (SHARED / "gitlab-component.yml").read_text().partition("\n---\n")[2]
    used = set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", text))
    assert used == set(spec["spec"]["inputs"])
    path = tmp_path / "gitlab.yml"
    with path.open("w") as stream:
        YAML(typ="safe").dump(jobs, stream)
    assert check("gitlab.yml", path) == 0


@pytest.mark.parametrize("name", ["action.yml", "gitlab-component.yml"])
def test_what_others_include_calls_what_there_is(name: str) -> None:
    found = [
        shlex.split(line.replace('${AGAINST:+--against "$AGAINST"}', "--against 2.9"))
        for document in YAML(typ="safe").load_all((SHARED / name).read_text())
        for line in commands(document)
        if line.startswith("te-matrix ")
    ]
    assert [words[1] for words in found] == ["qualify", "gate"]
    for _program, command, *words in found:
        main.commands[command].make_context(command, words)


def test_the_release_is_the_version_of_the_package_everywhere() -> None:
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert f"\n## {__version__} (" in (ROOT / "CHANGELOG.md").read_text()
    named = (SHARED / "action.yml").read_text() + (SHARED / "gitlab-component.yml").read_text()
    assert set(re.findall(r"qualify@v?([\d.]+)", named)) == {__version__}


@pytest.fixture
def nightly(tmp_path: Path) -> Path:
    """A folder with the files of a job every night."""
    done = CliRunner().invoke(main, ["ci", "--nightly", "--output", str(tmp_path / "ci")])
    assert done.exit_code == 0, done.output
    return tmp_path / "ci"


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_night_a_candidate_is_qualified_and_its_page_posted(name: str, nightly: Path) -> None:
    path = nightly / f"nightly-{name}"
    shown = nightly / name
    shown.write_text(path.read_text())
    assert check(name, shown) == 0
    found = [
        shlex.split(line.strip())
        for line in commands(YAML(typ="safe").load(path.read_text()))
        if line.strip().startswith("te-matrix ")
    ]
    assert [words[1] for words in found] == ["qualify", "gate", "releases", "qualify"]
    assert found[0][2] == "git:main"
    for _program, command, *words in found:
        main.commands[command].make_context(command, words)
    assert "te-matrix-report" in path.read_text()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "Give either --shards N or --nightly"),
        (["--nightly", "--shards", "2"], "Give either --shards N or --nightly"),
        (["--nightly", "--releases", "all"], "--nightly does not take --releases"),
    ],
)
def test_either_jobs_or_a_night(words: list[str], named: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["ci", *words, "--output", str(tmp_path)])
    assert done.exit_code == 2
    assert named in done.output
    assert not list(tmp_path.iterdir())


def commands(found: Any) -> list[str]:
    """Return every line of every script in a pipeline file."""
    if isinstance(found, dict):
        return [
            line
            for key, value in found.items()
            for line in (
                value.splitlines()
                if key == "run"
                else [line for command in value for line in command.splitlines()]
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
    assert [words[0] for words in found] == ["qualify", "gate"]
    for command, *words in found:
        main.commands[command].make_context(command, words)
    with pytest.raises(click.UsageError):
        main.commands["gate"].make_context("gate", ["--nosuch"])


def test_what_is_gated_is_what_is_kept() -> None:
    """Artifacts are looked for where the commands write them."""
    text = (FOLDER / "gitlab.yml").read_text()
    written = set(re.findall(r"--(?:junit|code-quality) (\S+)", text))
    assert written == set(re.findall(r"(?:junit|codequality): (\S+)", text))
