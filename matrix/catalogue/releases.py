"""Releases: what there is, in what order, and where each one's code comes from."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from packaging.version import InvalidVersion, Version
from pydantic import Field, model_validator

from matrix.catalogue import tables
from matrix.errors import SourceUnavailable, TableError, UsageError, nearest

PACKAGE = "transformer_engine"


class Release(tables.Row):
    """One row of ``releases.toml``, or a candidate; the file explains its fields."""

    version: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    wheel: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    git: str | None = None
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    path: str | None = None
    also: tuple[str, ...] = ()
    opt_in: str | None = None
    image: str | None = None
    basis: str | None = Field(default=None, pattern=r"^(read|inferred)$")
    python: str | None = None
    cuda: str | None = None
    torch: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [self.wheel and self.sha256, self.git and self.commit, self.path]
        if sum(bool(source) for source in given) != 1:
            raise ValueError("needs exactly one source: wheel and sha256, or git and commit")
        return self

    @property
    def name(self) -> str:
        """The version; for a candidate the version and its digest's first digits."""
        return f"{self.version}@{self.digest[:8]}" if self.path else self.version

    @property
    def candidate(self) -> bool:
        """Whether this is a source tree or wheel under test."""
        return self.path is not None

    @property
    def order(self) -> tuple[Version, str]:
        """Sort key: by version, a candidate right behind the release it calls itself."""
        return Version(self.version), self.path or ""

    @functools.cached_property
    def minor(self) -> tuple[int, int]:
        """(major, minor), by which a release belongs to a band."""
        version = Version(self.version)
        return version.major, version.minor

    @property
    def source(self) -> str:
        """Where the Python code comes from, for people to read."""
        if self.path:
            return self.path
        return f"index {self.wheel}" if self.wheel else f"git {self.git}"

    @property
    def identity(self) -> str:
        """The source and what identifies it: commit or SHA-256; a candidate's digest does."""
        mark = self.commit or self.sha256
        return f"{self.source} {mark}" if mark else self.source


class Releases(tables.Row):
    """The whole of ``releases.toml``."""

    release: tuple[Release, ...]


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """All known releases, oldest first."""

    releases: tuple[Release, ...]

    def __getitem__(self, name: str) -> Release:
        for release in self.releases:
            if release.name == name:
                return release
        known = [release.name for release in self.releases]
        raise UsageError(f"there is no release {name}", do=nearest(name, known))

    def with_candidate(self, candidate: Release) -> Catalogue:
        """Return the catalogue with one more release in its place."""
        return Catalogue(tuple(sorted((*self.releases, candidate), key=lambda r: r.order)))

    def names(self) -> list[str]:
        """Return every release's name, oldest first."""
        return [release.name for release in self.releases]


def load(path: Path | None = None) -> Catalogue:
    """Read the catalogue.

    :raises TableError: a row is malformed, or a version stands there twice.
    """
    path = path or tables.packaged("releases.toml")
    rows = tables.load(path, Releases).release
    counted = Counter(_version(path, row) for row in rows)
    for row in rows:
        if counted[Version(row.version)] > 1:
            raise TableError(f"{path}: release {row.version} has more than one row")
    return Catalogue(tuple(sorted(rows, key=lambda release: release.order)))


def order(names: Iterable[str]) -> list[str]:
    """Return every release of the catalogue and ``names``, oldest first.

    A candidate's name is its version, ``@`` and its digest's first digits.
    """
    everything = {*load().names(), *names}
    return sorted(everything, key=lambda name: (Version(name.partition("@")[0]), name))


def _version(path: Path, row: Release) -> Version:
    try:
        version = Version(row.version)
    except InvalidVersion as error:
        raise TableError(f"{path}: {row.version!r} is not a version") from error
    if str(version) != row.version:  # a dash would make a range of it in a selection
        raise TableError(f"{path}: the usual form of version {row.version!r} is {version}")
    return version


def published() -> list[str]:
    """Return every version of the package that the configured index has.

    :raises SourceUnavailable: pip could not ask the index.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^Available versions: (.*)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise SourceUnavailable(
            f"the package index did not list {PACKAGE}",
            why=done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "",
            do="Check pip's index settings and the network",
        )
    return found.group(1).split(", ")


def missing(catalogue: Catalogue, versions: list[str]) -> list[str]:
    """Return those of ``versions`` that no row accounts for, oldest first.

    0.x and development placeholders are not releases of this catalogue.
    """
    accounted = {release.wheel for release in catalogue.releases}
    for release in catalogue.releases:
        accounted.update(entry.partition(":")[0] for entry in release.also)
    return sorted(
        (v for v in versions if v not in accounted and Version(v).major >= 1), key=Version
    )


def render(release: Release) -> str:
    """Return a release as a row of ``releases.toml``."""
    lines = ["[[release]]"]
    for key, value in release.model_dump(exclude_defaults=True).items():
        lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"
