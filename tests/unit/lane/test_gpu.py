"""Rule: the gpu lane runs what is installed, on a GPU that can, and says so where it cannot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.builders import a_save
from matrix.catalogue import releases
from matrix.catalogue.selection import Selection
from matrix.cli import main
from matrix.errors import DeviceError, SourceUnavailable, UsageError
from matrix.lane import device, installed
from matrix.lane.sources import OPT_IN
from matrix.report.document import ReportFile
from matrix.store.store import Store
from matrix.system.digests import of_files
from matrix.workflow import local_gpu
from matrix.workflow.selecting import Request, select

ON_GPU = ("--lane", "gpu", "--runner", "local")
DEVICE = {"gpu": "H100", "capability": "9.0", "driver": "580", "cuda": "13.0", "cudnn": "91900"}


def te_matrix(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Pretend that a Transformer Engine is installed: what its files hold, and its version."""

    def make(code: str, version: str = "2.21.0+abc") -> Path:
        package = tmp_path / "site" / "transformer_engine"
        (package / "pytorch").mkdir(parents=True)
        (package / "pytorch" / "module.py").write_text(code)
        spec = SimpleNamespace(submodule_search_locations=[str(package)])
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
        monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
        return package

    return make


def test_without_transformer_engine_the_lane_refuses_in_one_line() -> None:
    for words in (("plan",), ("run", "--phase", "save")):
        refused = te_matrix(*words, *ON_GPU)
        assert refused.exit_code == 4
        assert refused.stderr.startswith("te-matrix: no Transformer Engine is installed for this")
        assert refused.stderr.count("\n") == 1


def probed(monkeypatch: pytest.MonkeyPatch, done: Any) -> None:
    def run(command: Any, **options: Any) -> Any:
        if isinstance(done, Exception):
            raise done
        return SimpleNamespace(stdout=done)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ('{"without": "PyTorch 2.13.0+cpu is built without CUDA"}', "is built without CUDA"),
        (json.dumps(DEVICE | {"gpu": "L40S", "capability": "8.9"}), "L40S .* capability 8.9; .*"),
        ("not JSON", "Asking for it failed"),
        ("", "Asking for it failed"),
        (subprocess.CalledProcessError(1, "python", "", "no\nlibcuda is broken"), "libcuda is"),
        (subprocess.TimeoutExpired("python", 3), "timed out"),
    ],
)
def test_without_a_gpu_that_can_the_lane_refuses(
    monkeypatch: pytest.MonkeyPatch, install: Any, said: Any, refusal: str, tmp_path: Path
) -> None:
    install("code")
    probed(monkeypatch, said)
    with pytest.raises(DeviceError, match=refusal):
        device.require(None)
    refused = te_matrix("run", *ON_GPU, "--store", str(tmp_path / "store"))
    assert refused.exit_code == 4
    assert refused.stderr.count("\n") == 1
    assert "`--lane cpu`" in refused.stderr


def test_a_hopper_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    probed(monkeypatch, "a line of a library's\n" + json.dumps(DEVICE))
    assert device.require("0").gpu == "H100"
    assert not device.is_enough("8.9")
    assert device.is_enough("10.0")


def test_what_has_a_releases_files_is_that_release(install: Any) -> None:
    package = install("code", "2.9.0+70f53666")
    known = releases.load()
    row = known["2.9"].model_copy(update={"digest": of_files(package)})
    found = installed.find(releases.Catalogue((row,)))
    assert found.release == row
    assert found.get(row) == package.parent
    with pytest.raises(SourceUnavailable, match="2.17 is not installed here; 2.9 is"):
        found.get(known["2.17"])


@pytest.mark.parametrize(("code", "opt_in"), [("code", None), (f'NAME = "{OPT_IN}"', OPT_IN)])
def test_anything_else_is_a_candidate_that_others_can_read(
    install: Any, code: str, opt_in: str | None
) -> None:
    digest = of_files(install(code))
    found = installed.find(releases.load()).release
    assert (found.version, found.digest, found.opt_in) == ("2.21.0", digest, opt_in)
    assert found.candidate
    assert installed.read(str(found.path)) == found
    assert installed.read("some/folder") is None


def test_a_selection_says_what_was_installed(install: Any, tmp_path: Path) -> None:
    install("code")
    spelled = local_gpu.spelled_out(
        Selection(lane="gpu", runner="local"), Store(tmp_path / "store")
    )
    (candidate,) = spelled.candidate
    name = installed.read(candidate).name  # type: ignore[union-attr]
    assert (spelled.saved_by, spelled.loaded_by) == (name, name)
    asked = local_gpu.spelled_out(Selection(lane="gpu", releases="2.9,2.17"), None)
    assert (asked.saved_by, asked.loaded_by, asked.releases) == ("2.9,2.17", "2.9,2.17", None)


ELSEWHERE = f"2.22.0@{'e' * 64}"


@pytest.fixture
def visited(install: Any, tmp_path: Path) -> Store:
    """A store into which 2.9 and a candidate, installed in other environments, have saved."""
    install("code")
    store = Store(tmp_path / "store")
    store.prepare()
    selection = Selection(
        lane="gpu", runner="local", candidate=(ELSEWHERE,), saved_by="2.9,2.22.0@eeeeeeee"
    )
    plan = select(Request(selection)).plan
    for release in ("2.9", "2.22.0@eeeeeeee"):
        store.add(a_save(plan, release))
    store.remember(selection.model_copy(update={"loaded_by": "2.9"}))
    return store


def listed(store: Store, *words: str) -> Any:
    done = te_matrix(*words, *ON_GPU, "--store", store.url, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def savers(cells: Any) -> set[str]:
    return {cell["saved_by"].partition("@")[0] for cell in cells}


def test_plan_looks_for_savers_in_the_store_given(visited: Store) -> None:
    assert savers(listed(visited, "plan")) == {"2.9", "2.21.0", "2.22.0"}


def test_judge_looks_for_savers_in_the_store_given(visited: Store) -> None:
    assert savers(listed(visited, "judge")) == {"2.9", "2.21.0", "2.22.0"}


def test_report_looks_for_savers_in_the_store_given(visited: Store) -> None:
    read = ReportFile.model_validate(listed(visited, "report")).report()
    cells = [cell.model_dump() for cell in read.cells]
    assert savers(cells) == {"2.9", "2.21.0", "2.22.0"}


def test_gate_looks_for_savers_in_the_store_given(visited: Store) -> None:
    done = te_matrix("gate", *ON_GPU, "--store", visited.url, "--policy", "ledger")
    # Held to the FAQ, candidates are tried as loaders: 2.9's save, and the installed one's own.
    assert "\n2 cells planned: 2 not-run\n" in done.output


def test_bands_looks_for_candidates_in_the_store_given(visited: Store) -> None:
    found = listed(visited, "bands")["scenarios"]
    names = {name for band in found[0]["behaviours"] for name in band["releases"]}
    assert names >= {*releases.load().names(), "2.22.0@eeeeeeee"}


def test_candidates_of_runs_of_another_kind_are_left_alone(install: Any, tmp_path: Path) -> None:
    install("code")
    store = Store(tmp_path / "store")
    store.prepare()
    store.remember(Selection(lane="cpu", candidate=("some/wheel.whl",)))
    spelled = local_gpu.spelled_out(Selection(lane="gpu", runner="local"), store)
    assert "some/wheel.whl" not in spelled.candidate


def test_a_candidate_must_be_installed() -> None:
    with pytest.raises(UsageError, match="some/wheel.whl does not run in this interpreter"):
        local_gpu.catalogue(("some/wheel.whl",))
