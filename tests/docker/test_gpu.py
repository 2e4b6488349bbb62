"""Rule: a GPU that cannot do FP8 attention is refused before anything is built.

The GPUs are fakes: the engine of ``engine.sh`` has a hook that grants them, and the base
image a ``nvidia-smi`` that describes them. What they cannot show is Transformer Engine
at work on one.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.running import TEST_BASE
from matrix.cli import main
from matrix.errors import EngineError
from matrix.lane.containers import gpu, images

NVIDIA_SMI = """#!/bin/sh
case "$NVIDIA_VISIBLE_DEVICES" in
    fake-a100) echo "NVIDIA A100-SXM4-80GB, 8.0, 550.54.15" ;;
    fake-h100) echo "NVIDIA H100 80GB HBM3, 9.0, 550.54.15" ;;
    *) echo "No devices were found" >&2; exit 6 ;;
esac
"""
IMAGE = "te-matrix-test/ngc:24.10"


@pytest.fixture
def lock(client: Any, tmp_path: Path) -> Iterator[Path]:
    """A lock whose one base is an image with the fake ``nvidia-smi``, for release 1.11."""
    try:
        gpu.require_device(client, "fake-a100")
    except EngineError as error:
        pytest.skip(f"the engine grants no fake GPUs: {error}")
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, text, mode in (
            ("Dockerfile", f"FROM {TEST_BASE}\nCOPY nvidia-smi /usr/local/bin/\n", 0o644),
            ("nvidia-smi", NVIDIA_SMI, 0o755),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), mode
            archive.addfile(entry, io.BytesIO(text.encode()))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True)
    path = tmp_path / "my.lock"
    path.write_text(f'[[base]]\nkind = "ngc"\nimage = "{IMAGE}"\ndigest = "unlocked"\n')
    yield path
    client.images.remove(IMAGE, force=True)


@pytest.fixture(autouse=True)
def catalogued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have the catalogue say that the image carries 1.11."""
    from matrix.catalogue import releases

    known = releases.load()
    rows = [
        row.model_copy(update={"image": IMAGE}) if row.name == "1.11" else row
        for row in known.releases
    ]
    monkeypatch.setattr(releases, "load", lambda: releases.Catalogue(tuple(rows)))
    monkeypatch.chdir(tmp_path)


def te_matrix(lock: Path, *words: str) -> Result:
    options = ["--images-lock", str(lock), "--allow-unpinned", "--releases", "1.11"]
    return CliRunner().invoke(main, [*words, *options, "--variant", "plain"])


def test_one_below_sm90_is_refused(lock: Path, client: Any) -> None:
    before = {image.id for image in images.built(client)}
    said = te_matrix(lock, "run", "--runner", "docker", "--gpu", "fake-a100")
    assert said.exit_code == 4
    assert "GPU fake-a100, NVIDIA A100-SXM4-80GB (driver 550.54.15)" in said.output
    assert "compute capability 8.0; FP8 attention needs 9.0 (sm90)" in said.output
    assert {image.id for image in images.built(client)} == before


def test_one_that_does_not_exist_is_refused(lock: Path) -> None:
    said = te_matrix(lock, "run", "--runner", "docker", "--gpu", "7")
    assert said.exit_code == 4
    assert "gives no GPU 7" in said.output
    assert "unknown device" in said.output


def test_one_that_nvidia_smi_does_not_know_is_refused(lock: Path) -> None:
    said = te_matrix(lock, "run", "--runner", "docker", "--gpu", "fake-nothing")
    assert said.exit_code == 4
    assert "does not say what GPU fake-nothing is" in said.output


def test_sm90_is_taken_and_the_image_built_untouched(lock: Path, client: Any) -> None:
    """The container has the GPU; that no Transformer Engine is in it is infra, not an error."""
    said = te_matrix(lock, "run", "--runner", "docker", "--gpu", "fake-h100")
    assert said.exit_code == 4, said.output
    assert "release 1.11 cannot be imported: ModuleNotFoundError" in said.output
    (image,) = [i for i in images.built(client) if i.labels["te-matrix.kind"] == "ngc"]
    assert image.labels["te-matrix.base"] == IMAGE
    assert image.attrs["RootFS"] == client.images.get(IMAGE).attrs["RootFS"]
    client.images.remove(image.id, force=True)
