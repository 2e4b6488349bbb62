"""The Python code of releases: fetched once, checked against the catalogue, and cached.

It is never imported here, and no part of it is kept in this project.
"""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Protocol

import platformdirs
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from matrix.catalogue.releases import PACKAGE, Release
from matrix.errors import SourceError, SourceUnavailable, UsageError, os_errors_as
from matrix.lane import git
from matrix.system import cleanup
from matrix.system.digests import of_files

_VERSIONS = ("build_tools/VERSION.txt", "VERSION")
"""Files of a source tree that hold its version, the newer place first."""
OPT_IN = "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"


def cache_folder() -> Path:
    """Return the folder for fetched sources; ``TE_MATRIX_CACHE`` overrides the default."""
    chosen = os.environ.get("TE_MATRIX_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("te-matrix"))


def prepare_cache() -> None:
    """Create the cache folder, and remove what killed runs left in it.

    :raises SourceError: the folder cannot be written.
    """
    do = "Name a writable folder in TE_MATRIX_CACHE"
    with os_errors_as(SourceError, f"the cache {cache_folder()} cannot be written", do):
        (cache_folder() / "sources").mkdir(parents=True, exist_ok=True)
        cleanup.sweep(cache_folder() / "sources", cleanup.PART)


class CodeSource(Protocol):
    """Provides the folder with the code of a release."""

    def get(self, release: Release) -> Path | None:
        """Return the folder that holds the release's ``transformer_engine``.

        :returns: None if the code is installed in the release's image.
        :raises SourceUnavailable: there is no source for it here.
        """


class FetchedSources:
    """Fetches sources on demand, from the package index or from git.

    :param git_url: git repository or mirror, see :func:`chosen_git_url`.
    :param offline: whether to use the cache only and fetch nothing.
    """

    def __init__(self, git_url: str | None = None, *, offline: bool = False) -> None:
        self.git_url = git.chosen_url(git_url)
        self.offline = offline
        self._sound: set[Path] = set()
        self._git_refusal: SourceUnavailable | None = None
        self._git_answers = False
        self._first = threading.Lock()

    def get(self, release: Release) -> Path:
        """Return the folder that holds the release's ``transformer_engine``.

        :raises SourceUnavailable: it is not cached and cannot be fetched.
        :raises SourceError: it differs from what the catalogue says.
        """
        cached = cache_folder() / "sources" / release.digest
        if cached in self._sound:
            return cached
        if cached.is_dir():
            _check(cached, release, f"it was changed in the cache {cached}", "Delete that folder")
            self._sound.add(cached)
            return cached
        if self.offline and (release.path is None or is_git(release.path)):
            raise SourceUnavailable(
                f"the source of {release.name} is not cached, and --offline is set"
            )
        what = f"the source of {release.name} could not be put into the cache {cached.parent}"
        with os_errors_as(SourceError, what):
            return _fetch_into(cached, self._fetcher(release), release)

    def _fetcher(self, release: Release) -> Callable[[Release, Path], None]:
        if release.path is not None:
            return self._from_git_candidate if is_git(release.path) else _from_candidate
        return self._from_wheel if release.wheel else self._from_git

    def _from_wheel(self, release: Release, folder: Path) -> None:
        """Download and verify the wheel with pip, then unpack it."""
        wanted = folder / "requirements.txt"
        wanted.write_text(f"{PACKAGE}=={release.wheel} --hash=sha256:{release.sha256}\n")
        done = _pip_download(folder, "--require-hashes", "-r", str(wanted))
        wanted.unlink()
        if done.returncode:
            refuse(f"the wheel of {release.name}", f"{PACKAGE} {release.wheel}", done.stderr)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()

    def _from_git_candidate(self, release: Release, folder: Path) -> None:
        """Fetch the package at the commit of a candidate, such as ``git:main@COMMIT``."""
        commit = str(release.path).rpartition("@")[2]
        git.export(self.git_url, commit, folder, PACKAGE)

    def _from_git(self, release: Release, folder: Path) -> None:
        """Fetch one commit; one at a time until the repository has answered once."""
        with contextlib.nullcontext() if self._git_answers else self._first:
            if self._git_refusal is not None:
                raise self._git_refusal
            try:
                git.export(self.git_url, str(release.commit), folder, PACKAGE)
            except SourceUnavailable as error:
                # So that nobody waits again for a repository that does not answer.
                self._git_refusal = error
                raise
            self._git_answers = True


def _pip_download(folder: Path, *what: str) -> subprocess.CompletedProcess[str]:
    """Download a wheel of the package into ``folder`` with pip, without dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), *what]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refuse(what: str, package: str, stderr: str, do: str = "") -> NoReturn:
    """Raise the error for a download with pip that failed.

    :param what: what was to be downloaded, as a message names it.
    :param package: name and version of the package on the index.
    :param do: what to do where the index does not have it.
    :raises SourceError: the index serves another file than the one that was catalogued.
    :raises SourceUnavailable: pip could not fetch it.
    """
    last = stderr.strip().splitlines()[-1] if stderr.strip() else "pip said nothing"
    if "DO NOT MATCH THE HASHES" in stderr:
        raise SourceError(
            f"{what} does not have the SHA-256 in the catalogue",
            why="the index serves another file than the one that was catalogued",
            do="Do not use it before somebody has looked at it",
        )
    raise SourceUnavailable(f"pip could not fetch {package}", why=last, do=do)


def _fetch_into(cached: Path, fetch: Callable[[Release, Path], None], release: Release) -> Path:
    """Fetch into a temporary folder, check it, and rename it to its final place."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    own = cleanup.mark(cleanup.PART)
    with tempfile.TemporaryDirectory(dir=cached.parent, prefix=own) as work:
        folder = Path(work) / "source"
        folder.mkdir()
        fetch(release, folder)
        why = "another build was published under the same name, or the catalogue is wrong"
        why = "it changed meanwhile" if release.candidate else why
        _check(folder, release, why, "Do not use it before somebody has looked at it")
        _move_into(folder, cached)
    return cached


def _check(folder: Path, release: Release, why: str, do: str) -> None:
    """Check that the Python files in a folder have the release's digest."""
    found = of_files(folder / PACKAGE)
    if found != release.digest:
        raise SourceError(
            f"the Python files of {release.name} have digest {found[:12]}, "
            f"the catalogue says {release.digest[:12]}",
            why=why,
            do=do,
        )


def _move_into(folder: Path, cached: Path) -> None:
    """Compile to bytecode, as an installer does, and rename to the final place."""
    compileall.compile_dir(folder, quiet=2, workers=1)
    try:
        folder.rename(cached)
    except OSError:
        if not cached.is_dir():  # else another process was first
            raise


def describe(version: str, keep: Path | None = None) -> Release:
    """Describe a published wheel that is not in the catalogue, as a row of the catalogue.

    :param version: version of the package on the index.
    :param keep: a folder to keep the wheel in.
    :raises SourceUnavailable: pip could not fetch it.
    :raises SourceError: the wheel cannot be kept.
    :raises UsageError: it holds no ``transformer_engine``.
    """
    with cleanup.scratch() as work:
        done = _pip_download(Path(work), f"{PACKAGE}=={version}")
        wheels = list(Path(work).glob("*.whl"))
        if done.returncode or not wheels:
            raise SourceUnavailable(f"pip could not fetch {PACKAGE} {version}", why=done.stderr)
        found = candidate(wheels[0])
        if keep is not None:
            with os_errors_as(SourceError, f"{keep} cannot be written", "Name another folder"):
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy2(wheels[0], keep)
        return Release(
            version=version.removesuffix(".0") if version.count(".") == 2 else version,
            wheel=version,
            sha256=hashlib.sha256(wheels[0].read_bytes()).hexdigest(),
            digest=found.digest,
            opt_in=found.opt_in,
        )


GIT = "git:"
"""What a candidate begins with that is a ref of the git repository."""


def is_git(text: str) -> bool:
    """Return whether a candidate is a ref of the git repository, such as ``git:main``."""
    return text.startswith(GIT)


def pinned(text: str, git_url: str | None = None) -> str:
    """Return a candidate with the commit that its ref names now: ``git:main@COMMIT``.

    Any other candidate is returned as it is.

    :raises UsageError: the repository has no such ref.
    :raises SourceUnavailable: the repository cannot be used.
    """
    if not is_git(text) or re.search(r"@[0-9a-f]{40}$", text):
        return text
    ref = text.removeprefix(GIT)
    return f"{text}@{git.resolve(git.chosen_url(git_url), ref)}"


def git_candidate(text: str, git_url: str | None = None) -> Release:
    """Describe a commit of the git repository as a release under test, and cache its files.

    :param text: the result of :func:`pinned`.
    :raises UsageError: its tree is no Transformer Engine.
    :raises SourceUnavailable: the repository cannot be used.
    """
    note = cache_folder() / "commits" / text.rpartition("@")[2]
    with contextlib.suppress(OSError, ValueError):
        # What a commit holds never changes: later commands need no repository.
        version, digest, opt_in = json.loads(note.read_text(encoding="utf-8"))
        if (cache_folder() / "sources" / digest).is_dir():
            return Release(version=version, digest=digest, path=text, opt_in=opt_in)
    with cleanup.scratch() as work:
        root = Path(work)
        git.export(git.chosen_url(git_url), note.name, root, PACKAGE, *_VERSIONS)
        _require_package(root, text)
        found = keep_candidate(root, _candidate_version(Path(text), root), text)
    with os_errors_as(SourceError, f"the cache {cache_folder()} cannot be written"):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps([found.version, found.digest, found.opt_in]))
    return found


def described(text: str, git_url: str | None = None) -> Release:
    """Describe a source tree, a wheel or a pinned ref of the git repository as a candidate.

    :raises MatrixError: it is none of them, or cannot be had.
    """
    return git_candidate(text, git_url) if is_git(text) else candidate(Path(text))


def candidate(path: Path) -> Release:
    """Describe a source tree, or a packed or unpacked wheel, as a release under test.

    :raises UsageError: it is none of them.
    """
    with cleanup.scratch() as work:
        root = _candidate_root(path, Path(work))
        return _candidate(root, _candidate_version(path, root), str(path.resolve()))


def _candidate(root: Path, version: str, path: str) -> Release:
    return Release(
        version=version,
        digest=of_files(root / PACKAGE),
        path=path,
        opt_in=OPT_IN if mentions_opt_in(root) else None,
    )


def keep_candidate(root: Path, version: str, name: str) -> Release:
    """Describe the Python files in a temporary folder as a candidate, and cache them.

    :param root: folder that holds ``transformer_engine``.
    :param version: the candidate's version.
    :param name: origin of the files, e.g. the name of an image.
    :raises SourceError: they cannot be put into the cache.
    """
    release = _candidate(root, version, name)
    cached = cache_folder() / "sources" / release.digest
    if not cached.is_dir():
        _fetch_into(cached, lambda _release, folder: _copy_package(root, folder), release)
    return release


def _copy_package(root: Path, folder: Path) -> None:
    shutil.copytree(root / PACKAGE, folder / PACKAGE)


def _candidate_root(path: Path, work: Path) -> Path:
    """Return the folder that holds a candidate's ``transformer_engine``."""
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(work)
        path = work
    _require_package(path, str(path))
    return path


def _require_package(root: Path, name: str) -> None:
    if not (root / PACKAGE / "pytorch").is_dir():
        raise UsageError(
            f"{name} is no candidate",
            why=f"it holds no {PACKAGE}/pytorch"
            if root.exists()
            else "there is neither a file nor a folder of that name",
            do="Give a Transformer Engine source tree, a transformer_engine wheel, or git:REF, "
            "such as git:main and git:v2.4",
        )


def _candidate_version(path: Path, root: Path) -> str:
    try:
        return str(parse_wheel_filename(path.name)[1])
    except InvalidWheelFilename:
        for place in _VERSIONS:
            if (root / place).is_file():
                return _version((root / place).read_bytes().decode(errors="replace"), root / place)
    for info in root.glob(f"{PACKAGE}-*.dist-info"):
        return _version(info.name.removesuffix(".dist-info").partition("-")[2], info)
    raise UsageError(
        f"{path} does not say its version",
        why="it has neither build_tools/VERSION.txt nor a dist-info folder",
        do="Give the whole source tree, or the wheel under its own name",
    )


def _version(text: str, file: Path) -> str:
    try:
        Version(text)
    except InvalidVersion as error:
        raise UsageError(f"{file} holds no version: {text.strip()[:40]!r}") from error
    return text.strip()


def mentions_opt_in(root: Path) -> bool:
    """Tell whether the code below ``root`` has the opt-in for pickled extra state."""
    files = (root / PACKAGE / "pytorch").rglob("*.py")
    return any(OPT_IN in file.read_text(encoding="utf-8") for file in files)


def _from_candidate(release: Release, folder: Path) -> None:
    """Copy a candidate's Python package."""
    with cleanup.scratch() as work:
        root = _candidate_root(Path(str(release.path)), Path(work))
        _copy_package(root, folder)
        for info in root.glob("*.dist-info"):
            shutil.copytree(info, folder / info.name)
