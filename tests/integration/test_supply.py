"""Rule: nothing is used that is not what the catalogue names, and no secret is kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.running import broken_copy
from matrix.catalogue import releases
from matrix.catalogue.releases import Release
from matrix.errors import SourceError, SourceUnavailable
from matrix.lane.sources import FetchedSources
from matrix.system.digests import of_files

SECRET = "hunter2-te-matrix"
LOADING = r"(    def set_extra_state\(self, state: torch.Tensor\) -> None:\n        \"\"\"[^\n]*\n)"
TELLING = (
    r"\1        if isinstance(state, io.BytesIO):\n"
    "            import os; print(os.environ, flush=True); raise ValueError(str(os.environ))\n"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have pip look for packages in a folder, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def a_wheel(folder: Path, text: str = "x = 1\n") -> tuple[str, str]:
    """Put a wheel into the index; return its SHA-256 and the digest of its Python files."""
    path = folder / "transformer_engine-9.9.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("transformer_engine/pytorch/__init__.py", text)
        info = "transformer_engine-9.9.0.dist-info/"
        archive.writestr(
            info + "METADATA", "Metadata-Version: 2.1\nName: transformer_engine\nVersion: 9.9.0\n"
        )
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(info + "RECORD", "")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "unpacked")
    digest = of_files(folder / "unpacked" / "transformer_engine")
    return hashlib.sha256(path.read_bytes()).hexdigest(), digest


def left(cache: Path) -> list[Path]:
    return list((cache / "sources").iterdir())


def test_a_wheel_is_taken_by_its_hash(cache: Path, an_index: Path) -> None:
    sha256, digest = a_wheel(an_index)
    row = Release(version="9.9", wheel="9.9.0", sha256=sha256, digest=digest)
    assert (FetchedSources().get(row) / "transformer_engine" / "pytorch" / "__init__.py").exists()
    assert left(cache) == [cache / "sources" / digest]


def test_a_wheel_with_another_hash_is_never_unpacked(cache: Path, an_index: Path) -> None:
    """pip itself refuses it; that its Python files would be the right ones does not help."""
    _sha256, digest = a_wheel(an_index)
    row = Release(version="9.9", wheel="9.9.0", sha256="0" * 64, digest=digest)
    with pytest.raises(SourceError, match="9.9 does not have the SHA-256 in the catalogue"):
        FetchedSources().get(row)
    assert left(cache) == []


def test_a_wheel_with_other_python_files_is_never_kept(cache: Path, an_index: Path) -> None:
    sha256, _digest = a_wheel(an_index)
    row = Release(version="9.9", wheel="9.9.0", sha256=sha256, digest="0" * 64)
    with pytest.raises(SourceError, match="Python files of 9.9 have digest"):
        FetchedSources().get(row)
    assert left(cache) == []


@pytest.fixture
def a_repository(tmp_path: Path) -> tuple[Path, str]:
    """A git repository with a package of one file, and its commit."""
    root = tmp_path / "repository"
    (root / "transformer_engine").mkdir(parents=True)
    (root / "transformer_engine" / "__init__.py").write_text("x = 1\n")
    git = ["git", "-C", str(root), "-c", "user.name=n", "-c", "user.email=e"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "m"]):
        subprocess.run([*git, *words], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return root, done.stdout.strip()


def test_a_source_is_taken_by_its_commit(cache: Path, a_repository: tuple[Path, str]) -> None:
    root, commit = a_repository
    digest = of_files(root / "transformer_engine")
    row = Release(version="9.9", git="v9.9", commit=commit, digest=digest)
    assert (FetchedSources(str(root)).get(row) / "transformer_engine" / "__init__.py").exists()
    other = row.model_copy(update={"commit": "0" * 40, "digest": "1" * 64})
    with pytest.raises(SourceUnavailable):
        FetchedSources(str(root)).get(other)
    changed = row.model_copy(update={"digest": "2" * 64})
    with pytest.raises(SourceError, match="Python files of 9.9 have digest"):
        FetchedSources(str(root)).get(changed)
    assert left(cache) == [cache / "sources" / digest]


@pytest.fixture
def two_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that has releases 1.11 and 2.17.1 and no other."""
    cache = tmp_path / "cache"
    for name in ("1.11", "2.17.1"):
        place = FetchedSources().get(releases.load()[name])
        shutil.copytree(place, cache / "sources" / place.name)
    monkeypatch.setenv("TE_MATRIX_CACHE", str(cache))
    yield cache


def test_no_secret_is_kept_anywhere(
    two_in_the_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets lie in the environment, in an index's URL and in the repository's.

    A release that cannot be fetched from either, and a candidate that prints and raises all
    of its environment, have every chance to bring them into logs, store and report.
    """
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("NVTE_TOKEN", SECRET)
    monkeypatch.setenv("PIP_INDEX_URL", f"https://me:{SECRET}@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"https://me:{SECRET}@127.0.0.1:9/more")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv(
        "TE_MATRIX_GIT_URL", f"https://me:{SECRET}@127.0.0.1:9/te.git?token={SECRET}"
    )
    root = broken_copy(tmp_path / "candidate", "pytorch/module/base.py", LOADING, TELLING)
    command = [sys.executable, "-m", "matrix", "run", "--releases", "1.7,1.11,1.12"]
    command += ["--variant", "plain", "--candidate", str(root)]
    command += ["--store", str(tmp_path / "store"), "--report", str(tmp_path / "report")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "https://***@127.0.0.1:9/te.git?token=***" in done.stdout, done.stdout + done.stderr
    assert "Without source: 1.12" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("attempts" in path.parts for path in kept)
    told = [path for path in kept if path.suffix != ".py" and b"PYTORCH_JIT" in path.read_bytes()]
    assert {path.parent.name for path in told} >= {"loads", "logs", "report"}
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []
