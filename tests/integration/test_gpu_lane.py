"""Rule: the gpu lane drives a release's real modules as on a device, and environments add up.

No GPU is needed: the releases' compiled kernels are computed by PyTorch (``emulation``). What
is tested is the harness; nothing that is seen here is evidence of a release.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import emulation
from matrix.catalogue import releases
from matrix.cli import main
from matrix.lane import device
from matrix.lane.sources import FetchedSources
from matrix.report import document
from matrix.store.records import Device
from matrix.store.store import Store

HERE = Device(gpu="emulated", capability="9.0", driver="580.0", cuda="13.0", cudnn="92100")
ON_GPU = ("--lane", "gpu", "--runner", "local")
WHAT = ("--scenario", "attention-only", "--variant", "plain,trusted", "--size", "small")


class Environments:
    """Interpreters that each have one release installed."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        fakes = folder / "bin"
        fakes.mkdir()
        (fakes / "nvidia-smi").write_text("#!/bin/sh\necho 580.0\n")
        (fakes / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{fakes}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(device, "require", lambda gpu: HERE)

    def install(self, version: str) -> None:
        release = releases.load()[version]
        emulation.install(FetchedSources().get(release), release.version, self._folder / version)

    @contextlib.contextmanager
    def inside(self, version: str) -> Iterator[None]:
        with self._monkeypatch.context() as patch:
            patch.syspath_prepend(self._folder / version)
            importlib.invalidate_caches()
            yield

    def run(self, version: str, store: Path, *words: str) -> Result:
        with self.inside(version):
            return te_matrix("run", *ON_GPU, *WHAT, "--store", store, *words)


def te_matrix(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environments:
    return Environments(tmp_path, monkeypatch)


def test_environments_visited_twice_make_a_full_matrix(
    environments: Environments, tmp_path: Path
) -> None:
    versions = ("2.9", "2.20.2")
    stores = {version: tmp_path / f"store-{version}" for version in versions}
    for version in versions:
        environments.install(version)
        saved = environments.run(version, stores[version], "--phase", "save")
        assert saved.exit_code == 0, saved.output
    everything = tmp_path / "everything"
    for version in versions:
        assert te_matrix("merge", *stores.values(), "--store", everything).exit_code == 0
        shutil.copytree(everything, tmp_path / "visited")
        visited = environments.run(
            version, tmp_path / "visited", "--no-gate", "--report", tmp_path / "report"
        )
        assert visited.exit_code == 0, visited.output
        shutil.rmtree(stores[version])
        (tmp_path / "visited").rename(stores[version])
    merged = te_matrix("merge", *stores.values(), "--store", everything)
    assert merged.exit_code == 0, merged.output
    assert "more than one way" not in merged.stderr
    done = te_matrix("report", "--store", everything, "--report", tmp_path / "report")
    cells = document.read(tmp_path / "report" / "report.json").cells
    by_cell = {
        (cell.saved_by.partition("@")[0], cell.loaded_by.partition("@")[0]): cell
        for cell in cells
        if cell.variant == "trusted" or cell.loaded_by.startswith("2.9")
    }
    assert len(by_cell) == 4, done.output
    for cell in by_cell.values():
        assert (cell.lane, cell.runner, cell.provenance) == ("gpu", "local", "live")
        assert (cell.outcome, cell.after_load) == ("loaded", "updates"), cell
        assert cell.output_difference <= cell.output_largest / 8
    for saves in Store(everything).saves().values():
        (save,) = saves
        assert save.provenance.backend == "FusedAttention/FP8"
        assert save.output_digest in Store(everything).checkpoints()
    page = (tmp_path / "report" / "index.html").read_text()
    assert "largest difference of a loaded module’s output" in page


def test_a_save_that_fp8_attention_had_no_part_in_is_infra(
    environments: Environments, tmp_path: Path
) -> None:
    environments.install("2.9")
    entry = tmp_path / "2.9" / "transformer_engine" / "__init__.py"
    with entry.open("a") as code:
        code.write("import os; os.environ.update(NVTE_FUSED_ATTN='0', NVTE_FLASH_ATTN='0')\n")
    done = environments.run("2.9", tmp_path / "store", "--report", tmp_path / "report")
    assert done.exit_code == 4, done.output
    (cell,) = document.read(tmp_path / "report" / "report.json").cells
    assert cell.verdict == "infra"
    assert "No dot product attention backend is available" in cell.note
