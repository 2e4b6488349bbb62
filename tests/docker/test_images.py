"""Rule: bases are pinned by what a registry says, and nothing is built on less unasked."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.running import TEST_BASE
from matrix.cli import main
from matrix.lane.containers import images, lock


def te_matrix(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on loopback; yields its address."""
    if shutil.which("docker-registry") is None:
        pytest.skip("Debian's docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    _await(address)
    yield address
    process.terminate()
    process.wait()


def _await(address: str) -> None:
    host, port = address.split(":")
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the registry does not answer")


def lock_file(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows))
    return path


def row(image: str, digest: str = "unlocked") -> str:
    return f'[[base]]\nkind = "cpu"\nimage = "{image}"\ndigest = "{digest}"\n'


@pytest.fixture
def pushed(client: Any, registry: str) -> Iterator[str]:
    """The base image in the registry, by its name there."""
    name = f"{registry}/python"
    client.images.get(TEST_BASE).tag(name, "3.11")
    for event in client.images.push(name, "3.11", stream=True, decode=True):
        assert "error" not in event, event
    yield f"{name}:3.11"
    client.images.remove(f"{name}:3.11")


def test_a_lock_is_refreshed_and_the_change_shown(pushed, client, tmp_path) -> None:
    gone = "127.0.0.1:1/gone:1"
    path = lock_file(tmp_path / "my.lock", row(pushed), row(gone))
    said = te_matrix("images", "lock", "--images-lock", str(path))
    first, second = lock.load(path)
    assert first.digest == client.images.get_registry_data(pushed).id
    assert f"{pushed}\n  - unlocked\n  + {first.digest}\n" in said.output
    assert (second.image, second.digest) == (gone, "unlocked")
    assert "1 changed, 0 as before, 1 could not be read" in said.output
    assert f"{gone} could not be read" in said.output
    assert said.exit_code == 4
    again = te_matrix("images", "lock", "--images-lock", str(path), "--only", "python")
    assert (again.exit_code, "0 changed, 2 as before" in again.output) == (0, True)


def test_a_locked_base_is_built_on_by_digest(pushed, client, tmp_path, monkeypatch) -> None:
    path = lock_file(tmp_path / "my.lock", row(pushed))
    monkeypatch.setenv("TE_MATRIX_IMAGES_LOCK", str(path))
    monkeypatch.chdir(tmp_path)
    assert te_matrix("images", "lock").exit_code == 0
    (base,) = lock.load(path)
    said = te_matrix("images", "build", "--lane", "cpu", "--releases", "1.11")
    assert said.exit_code == 0, said.output
    (image,) = [
        image
        for image in images.built(client)
        if image.labels.get("te-matrix.base-digest") == base.digest
        and image.labels["te-matrix.base"] == pushed
        and image.labels.get("te-matrix.release") == "1.11"
    ]
    assert f"1.11: image {image.id[7:19]}" in said.output


def test_an_unpinned_base_is_refused(client, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = {image.id for image in images.built(client)}
    for words in (["images", "build"], ["run", "--runner", "docker"]):
        said = te_matrix(*words, "--lane", "cpu", "--base", TEST_BASE, "--releases", "1.12")
        assert said.exit_code == 4
        assert f"not pinned by digest: {TEST_BASE}" in said.output
        assert "--allow-unpinned" in said.output
    assert {image.id for image in images.built(client)} == before


def test_a_base_that_cannot_be_had(client, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--lane", "cpu", "--base", "127.0.0.1:1/gone:1", "--allow-unpinned"]
    said = te_matrix("images", "build", *words, "--releases", "1.11")
    assert said.exit_code == 4
    assert "127.0.0.1:1/gone:1 is not here and cannot be pulled" in said.output


def test_without_a_gpu_it_says_which_lane_is_possible(client, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = {image.id for image in images.built(client)}
    said = te_matrix("run", "--runner", "docker", "--releases", "1.11")
    assert said.exit_code == 4
    assert "the container engine gives no GPU 0" in said.output
    assert "`--lane cpu`" in said.output
    built = [image for image in images.built(client) if image.id not in before]
    assert all(image.labels["te-matrix.kind"] == "probe" for image in built)


def test_no_engine_is_one_sentence(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "matrix", "run", "--runner", "docker", "--lane", "cpu"],
        env=dict(os.environ, DOCKER_HOST="unix:///nowhere.sock"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 4
    assert said.stderr.startswith("te-matrix: no container engine answers. ")
    assert "--runner local --lane cpu" in said.stderr
    assert (said.stdout, len(said.stderr.splitlines())) == ("", 1)
