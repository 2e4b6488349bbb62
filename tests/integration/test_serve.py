"""Rule: what a container starts is the same program: it speaks on its standard streams."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from matrix.catalogue import releases, scenarios
from matrix.lane.environment import WORKER, worker_environment
from matrix.lane.process import start_message
from matrix.lane.sources import FetchedSources


def talk(*messages: dict[str, Any], words: tuple[str, ...] = ("serve",)) -> Any:
    """Start the worker, say each message after its last answer; return how it ended, and those."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=worker_environment(),
    )
    with process:
        assert process.stdin and process.stdout and process.stderr
        said = []
        for message in messages:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            said.append(process.stdout.readline())
        process.stdin.close()
        errors = process.stderr.read()
    return process.returncode, [json.loads(line) for line in said if line], errors


@pytest.fixture
def opened(tmp_path: Path) -> dict[str, Any]:
    release = releases.load()["2.17.1"]
    source = str(FetchedSources().get(release))
    return start_message(release, source, "cpu", tmp_path / "log").model_dump(mode="json")


def test_it_saves_and_loads(opened: dict[str, Any], tmp_path: Path) -> None:
    path, recipe = tmp_path / "a.pt", scenarios.load()["autocast"].request
    common = {"timeout": 60, "scenario": recipe, "path": str(path), "lane": "cpu", "steps": True}
    load = common | {"rewrite": None, "opt_in": "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE", "loads": 1}
    status, (hello, saved, entered, loaded, left), errors = talk(
        opened,
        {"op": "save", "id": 1, **common},
        {"op": "enter", "id": 2, **common},
        {"op": "load", "id": 3, **load},
        {"op": "leave", "id": 4},
    )
    assert hello["release"] == "2.17.1"
    assert path.is_file() and saved["answer"]["state_digest"]
    assert entered["answer"] == {"gaps": []}
    assert (loaded["answer"]["stage"], loaded["answer"]["error"]) == ("first_step", None)
    assert left == {"id": 4, "answer": {}}
    assert status == 0, errors


def test_a_gpu_lane_without_transformer_engine_says_so(opened: dict[str, Any]) -> None:
    status, (hello,), errors = talk(opened | {"lane": "gpu", "source": None})
    assert hello["failure"]["type"] == "ModuleNotFoundError"
    assert status == 0, errors


def test_scratch_folders_are_cleared_in_a_container_only(opened: dict[str, Any]) -> None:
    status, said, errors = talk(opened | {"scratch": ["/nowhere"]})
    assert (status, said) == (1, [])
    assert b"scratch folders are cleared in a container only" in errors


@pytest.mark.parametrize("words", [(), ("host-me",)])
def test_another_command_is_refused(words: tuple[str, ...]) -> None:
    status, said, errors = talk(words=words)
    assert (status, said) == (1, [])
    assert errors.startswith(b"usage: worker forkserver FD | worker serve")


def test_nobody_spoke() -> None:
    status, said, errors = talk()
    assert (status, said, errors) == (0, [], b"")
