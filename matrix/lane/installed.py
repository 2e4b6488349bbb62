"""The Transformer Engine that is installed for this interpreter, as a release.

If its Python files are those of a release in the catalogue, it is that release, whatever
version it reports. Otherwise it is a candidate.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from packaging.version import Version

from matrix.catalogue.releases import PACKAGE, Catalogue, Release
from matrix.errors import DeviceError, SourceUnavailable
from matrix.lane.sources import OPT_IN, mentions_opt_in
from matrix.system.digests import of_files

_OPT_IN = "+opt-in"
_CANDIDATE = re.compile(r"(?P<version>[^@\s]+)@(?P<digest>[0-9a-f]{64})(?P<opt_in>\+opt-in)?")


class InstalledRelease:
    """The installed release, as the source of its own code; this interpreter can run no other."""

    def __init__(self, release: Release, folder: Path) -> None:
        self.release = release
        self._folder = folder

    def get(self, release: Release) -> Path:
        """Return the folder that holds the release's ``transformer_engine``.

        :raises SourceUnavailable: another release is asked for.
        """
        if release.digest != self.release.digest:
            raise SourceUnavailable(
                f"{release.name} is not installed here; {self.release.name} is",
                do="Run in the environment that has it, and merge the stores",
            )
        return self._folder


def find(catalogue: Catalogue) -> InstalledRelease:
    """Return the installed release.

    :raises DeviceError: no Transformer Engine is installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DeviceError(
            "no Transformer Engine is installed for this interpreter",
            do="Install one, or run in containers (`--runner docker`) or in the cpu lane "
            "(`--lane cpu`)",
        )
    package = Path(spec.submodule_search_locations[0]).resolve()
    digest = of_files(package)
    for release in catalogue.releases:
        if release.digest == digest:
            return InstalledRelease(release, package.parent)
    return InstalledRelease(_candidate(package, digest), package.parent)


def _candidate(package: Path, digest: str) -> Release:
    version = Version(importlib.metadata.version(PACKAGE)).public
    mark = _OPT_IN if mentions_opt_in(package.parent) else ""
    found = read(f"{version}@{digest}{mark}")
    assert found is not None
    return found


def read(text: str) -> Release | None:
    """Return the installed candidate that ``text`` describes, or None if it describes none.

    The text is the candidate's path: version, ``@``, digest and possibly ``+opt-in``. By it,
    a machine on which the candidate is not installed can judge its evidence.
    """
    found = _CANDIDATE.fullmatch(text)
    if found is None:
        return None
    return Release(
        version=found["version"],
        digest=found["digest"],
        path=text,
        opt_in=OPT_IN if found["opt_in"] else None,
    )
