"""The known releases of Transformer Engine, and where the code of each is obtained."""

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
"""The project's name on the package index."""
EXTENSION_PACKAGE = "transformer_engine_torch"
"""The name there of the source package of the compiled extension."""


class Release(tables.Row):
    """One release: a row of ``releases.toml``, or a candidate.

    Its code comes from exactly one source: a wheel, a git repository or a path.
    """

    version: str
    """The version as the project names it, e.g. ``1.9``."""
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 over "path SHA-256" lines, sorted by path, of the release's Python files."""
    wheel: str | None = None
    """Version of the pure-Python wheel on the package index, e.g. ``1.9.0.post1``."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the wheel."""
    extension: str | None = None
    """Version of the source package of the compiled extension on the index."""
    extension_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of that source package."""
    git: str | None = None
    """Tag or branch of the project's git repository, for a release without a wheel."""
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """The git commit that is fetched."""
    path: str | None = None
    """Source tree, wheel or image of a candidate; absent for published releases."""
    also: tuple[str, ...] = ()
    """Further builds on the package index that are left out: "version: reason"."""
    opt_in: str | None = None
    """Environment variable that makes the release accept pickled extra state."""
    image: str | None = None
    """Name and tag of the NGC image that contains the release."""
    basis: str | None = Field(default=None, pattern=r"^(read|inferred)$")
    """How the image was determined: ``read`` in a source, or ``inferred`` from dates."""
    python: str | None = None
    """Version of Python in the image, or the requirement that the release documents."""
    cuda: str | None = None
    """Version of CUDA in the image, or the requirement that the release documents."""
    torch: str | None = None
    """Version of PyTorch in the image, or the requirement that the release documents."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [self.wheel and self.sha256, self.git and self.commit, self.path]
        if sum(bool(source) for source in given) != 1:
            raise ValueError("needs exactly one source: wheel and sha256, or git and commit")
        if bool(self.extension) != bool(self.extension_sha256):
            raise ValueError("extension and extension_sha256 go together")
        return self

    @property
    def name(self) -> str:
        """The version; of a candidate the version, ``@`` and the first 8 digits of its digest."""
        return f"{self.version}@{self.digest[:8]}" if self.path else self.version

    @property
    def candidate(self) -> bool:
        """Whether this is a source tree, wheel or image under test."""
        return self.path is not None

    @property
    def order(self) -> tuple[Version, str]:
        """Sort key: by version; a candidate follows the release of the same version."""
        return Version(self.version), self.path or ""

    @functools.cached_property
    def minor(self) -> tuple[int, int]:
        """(major, minor), which determines the band of the release."""
        version = Version(self.version)
        return version.major, version.minor

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions under which it is published, further builds of it included."""
        built = (self.wheel, *(entry.partition(":")[0] for entry in self.also))
        its = Version(Version(self.version).base_version)
        return (self.version, *(v for v in built if v and Version(Version(v).base_version) == its))

    @property
    def source(self) -> str:
        """Where the Python code is obtained, as text for people."""
        if self.path:
            return self.path
        return f"index {self.wheel}" if self.wheel else f"git {self.git}"

    @property
    def identity(self) -> str:
        """The source, followed by the commit or the wheel's SHA-256 where there is one."""
        mark = self.commit or self.sha256
        return f"{self.source} {mark}" if mark else self.source


class Releases(tables.Row):
    """Contents of ``releases.toml``."""

    release: tuple[Release, ...]
    """The releases, in any order."""


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """All known releases."""

    releases: tuple[Release, ...]
    """The releases, oldest first."""

    def __getitem__(self, name: str) -> Release:
        """Return a release by name, or by its version as a package, a tag or an import gives it.

        :param name: as the catalogue has it, or such as ``v2.4``, ``2.4.0`` or ``2.4.0+3cd6870``.
        :raises UsageError: there is none of that name.
        """
        found = self.find(name)
        if found is None:
            raise UsageError(
                f"there is no release {name}" if name.strip() else "the name of a release is empty",
                do=nearest(name, self.names()),
            )
        return found

    def find(self, name: str) -> Release | None:
        """Return a release by name or version, or None if there is none."""
        by_name = {release.name: release for release in self.releases}
        return by_name.get(name) or self._of_version(name)

    def _of_version(self, text: str) -> Release | None:
        try:
            version = Version(Version(text).public)  # without the commit that builds append
        except InvalidVersion:
            return None
        for release in self.releases:
            if not release.candidate and version in {Version(v) for v in release.versions}:
                return release
        return None

    def with_candidate(self, candidate: Release) -> Catalogue:
        """Return a catalogue that also contains a candidate."""
        return Catalogue(tuple(sorted((*self.releases, candidate), key=lambda r: r.order)))

    def names(self) -> list[str]:
        """Return the names of all releases, oldest first."""
        return [release.name for release in self.releases]


def load(path: Path | None = None) -> Catalogue:
    """Read the catalogue.

    :param path: the file to read; by default the packaged one.
    :raises TableError: a row is malformed, or two rows have the same version.
    """
    path = path or tables.packaged("releases.toml")
    rows = tables.load(path, Releases).release
    counted = Counter(_version(path, row) for row in rows)
    for row in rows:
        if counted[Version(row.version)] > 1:
            raise TableError(f"{path}: release {row.version} has more than one row")
    return Catalogue(tuple(sorted(rows, key=lambda release: release.order)))


def order(names: Iterable[str]) -> list[str]:
    """Return the names of all releases of the catalogue and the given names, oldest first.

    :param names: names of releases and candidates; see :attr:`Release.name`.
    """
    everything = {*load().names(), *names}
    return sorted(everything, key=lambda name: (Version(name.partition("@")[0]), name))


def _version(path: Path, row: Release) -> Version:
    try:
        version = Version(row.version)
    except InvalidVersion as error:
        raise TableError(f"{path}: {row.version!r} is not a version") from error
    if str(version) != row.version:  # a dash would be read as a range in a selection
        raise TableError(f"{path}: the usual form of version {row.version!r} is {version}")
    return version


def published() -> list[str]:
    """Return all versions of the package on the package index that pip is configured for.

    :raises SourceUnavailable: pip could not list them.
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
    """Return the published versions from 1.0 on that no row of the catalogue mentions.

    :param versions: versions on the package index.
    :return: oldest first.
    """
    accounted = {release.wheel for release in catalogue.releases}
    for release in catalogue.releases:
        accounted.update(entry.partition(":")[0] for entry in release.also)
    return sorted(
        (v for v in versions if v not in accounted and Version(v).major >= 1), key=Version
    )


def render(release: Release) -> str:
    """Return the text of a release's row in ``releases.toml``."""
    lines = ["[[release]]"]
    for key, value in release.model_dump(exclude_defaults=True).items():
        lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"
