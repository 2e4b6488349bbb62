"""Rule: a source is what the catalogue says it is, or it is not used."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from matrix.catalogue.releases import Catalogue
from matrix.errors import SourceError, SourceUnavailable, UsageError
from matrix.lane import git, sources
from matrix.lane.sources import FetchedSources
from matrix.system.digests import of_files


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TE_MATRIX_GIT_URL", raising=False)
    return tmp_path / "cache"


def tree(root: Path, **files: str) -> Path:
    for name, text in {"pytorch/__init__.py": "", **files}.items():
        path = root / "transformer_engine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "build_tools").mkdir(exist_ok=True)
    (root / "build_tools" / "VERSION.txt").write_text("2.21.0\n")
    return root


def test_the_digest_follows_the_python_files(tmp_path: Path) -> None:
    root = tree(tmp_path / "a")
    before = of_files(root)
    (root / "transformer_engine" / "notes.txt").write_text("x")
    assert of_files(root) == before
    (root / "transformer_engine" / "pytorch" / "__init__.py").write_text("x = 1")
    assert of_files(root) != before


def test_a_source_tree_is_a_candidate(tmp_path: Path, cache: Path) -> None:
    root = tree(tmp_path / "a")
    release = sources.candidate(root)
    assert release.name.startswith("2.21.0@")
    assert release.opt_in is None
    place = FetchedSources().get(release)
    assert (place / "transformer_engine" / "pytorch" / "__init__.py").exists()
    assert place.is_relative_to(cache)


def test_a_candidates_opt_in_is_read_from_its_code(tmp_path: Path) -> None:
    text = 'ENV = "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"\n'
    root = tree(tmp_path / "a", **{"pytorch/_extra_state.py": text})
    assert sources.candidate(root).opt_in == "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"


def test_a_wheel_is_a_candidate(tmp_path: Path) -> None:
    path = tmp_path / "transformer_engine-2.22.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("transformer_engine/pytorch/__init__.py", "")
    release = sources.candidate(path)
    assert release.version == "2.22.0"
    assert (FetchedSources().get(release) / "transformer_engine").is_dir()


def test_an_unpacked_wheel_is_a_candidate(tmp_path: Path) -> None:
    """Its version is that of the folder beside the package, as it has no file of its own."""
    root = tree(tmp_path / "a")
    (root / "build_tools" / "VERSION.txt").unlink()
    (root / "transformer_engine-2.23.0.dist-info").mkdir()
    release = sources.candidate(root)
    assert release.version == "2.23.0"
    place = FetchedSources().get(release)
    assert (place / "transformer_engine-2.23.0.dist-info").is_dir()


def test_a_folder_that_no_installer_wrote_has_no_version(tmp_path: Path) -> None:
    root = tree(tmp_path / "a")
    (root / "build_tools" / "VERSION.txt").unlink()
    (root / "transformer_engine-main.dist-info").mkdir()
    with pytest.raises(UsageError, match="dist-info holds no version: 'main'"):
        sources.candidate(root)


def test_something_else_is_no_candidate(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no transformer_engine/pytorch"):
        sources.candidate(tmp_path)


def test_a_tree_without_a_version(tmp_path: Path) -> None:
    root = tree(tmp_path / "a")
    (root / "build_tools" / "VERSION.txt").unlink()
    with pytest.raises(UsageError, match="does not say its version"):
        sources.candidate(root)


def test_offline_fetches_nothing(known: Catalogue) -> None:
    with pytest.raises(SourceUnavailable, match="2.18 is not cached"):
        FetchedSources(offline=True).get(known["2.18"])


def pip_says(monkeypatch: pytest.MonkeyPatch, stderr: str) -> None:
    def run(*_args: Any, **_options: Any) -> Any:
        return subprocess.CompletedProcess([], 1, "", stderr)

    monkeypatch.setattr(sources.subprocess, "run", run)


def test_a_wheel_with_another_hash_is_refused(
    known: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_says(monkeypatch, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS")
    with pytest.raises(SourceError, match="2.18 does not have the SHA-256 in the catalogue"):
        FetchedSources().get(known["2.18"])


def test_a_wheel_that_is_not_to_be_had(known: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_says(monkeypatch, "ERROR: no network")
    with pytest.raises(SourceUnavailable, match="could not fetch.*2.18.0.*no network"):
        FetchedSources().get(known["2.18"])


def test_other_python_files_than_catalogued_are_refused(
    known: Catalogue, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(FetchedSources, "_from_wheel", lambda self, release, folder: tree(folder))
    with pytest.raises(SourceError, match="2.18 have digest .* the catalogue says 03baecbf97b3"):
        FetchedSources().get(known["2.18"])
    assert not (cache / "sources" / known["2.18"].digest).exists()


def test_a_cached_source_that_changed_is_refused(tmp_path: Path) -> None:
    release = sources.candidate(tree(tmp_path / "a"))
    place = FetchedSources().get(release)
    assert FetchedSources().get(release) == place
    (place / "transformer_engine" / "pytorch" / "__init__.py").write_text("x = 1")
    with pytest.raises(SourceError, match=f"changed in the cache {place}. Delete that folder"):
        FetchedSources().get(release)


@pytest.mark.parametrize("text", ["", "main", "2.21.0 # soon"])
def test_a_tree_whose_version_is_none(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path / "a")
    (root / "build_tools" / "VERSION.txt").write_text(text)
    with pytest.raises(UsageError, match=r"VERSION.txt holds no version"):
        sources.candidate(root)


def test_a_git_host_out_of_reach_is_asked_once(
    known: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(command: list[str], **_options: Any) -> None:
        asked.append(command)
        raise subprocess.CalledProcessError(128, command, "", "fatal: Could not resolve host")

    monkeypatch.setattr(sources.subprocess, "run", run)
    fetcher = FetchedSources()
    for version in ("1.5", "1.7"):
        with pytest.raises(SourceUnavailable, match="Could not resolve host.*TE_MATRIX_GIT_URL"):
            fetcher.get(known[version])
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (FileNotFoundError(), "Git is not installed"),
        (subprocess.TimeoutExpired("git", 300), "No answer within"),
    ],
)
def test_git_that_does_not_answer(
    known: Catalogue, monkeypatch: pytest.MonkeyPatch, error: Exception, complaint: str
) -> None:
    def run(*_args: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr(sources.subprocess, "run", run)
    with pytest.raises(SourceUnavailable, match=complaint):
        FetchedSources().get(known["1.7"])


def test_the_mirror_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FetchedSources().git_url == git.GIT_URL
    monkeypatch.setenv("TE_MATRIX_GIT_URL", "/mirror")
    assert FetchedSources().git_url == "/mirror"
    assert FetchedSources("/other").git_url == "/other"
