"""The C++ source of a release's compiled extension."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

from matrix.catalogue.releases import EXTENSION_PACKAGE, Release
from matrix.errors import SourceUnavailable
from matrix.lane import git
from matrix.lane.sources import refuse
from matrix.system import cleanup
from matrix.system.unpacking import unpack

_IN_GIT = ("transformer_engine/pytorch/csrc", "transformer_engine/common")
OLD_NAME, NAME = "transformer_engine_extensions", EXTENSION_PACKAGE
"""Names of the extension, up to 1.7 and from 1.8 on."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The source of an extension, unpacked.

    ``csrc`` holds the files to compile, ``headers`` are the folders of the project's headers.
    """

    csrc: Path
    headers: tuple[Path, ...]

    @property
    def files(self) -> list[Path]:
        """The files that declare the extension: the others hold what they bind."""
        names = ("pybind.cpp", "ep.cpp")
        return [path for name in names if (path := self.csrc / "extensions" / name).is_file()]


def extension_name(release: Release) -> str:
    """Return the name by which a release imports its extension."""
    return NAME if release.minor >= (1, 8) else OLD_NAME


def identity(release: Release) -> str:
    """Return what names the source of a release's extension exactly."""
    return release.extension_sha256 or release.commit or release.digest


def unpacked(release: Release, folder: Path, git_url: str) -> Source:
    """Fetch the source of a release's extension.

    :param folder: an empty folder to unpack it in.
    :raises SourceUnavailable: it cannot be fetched.
    :raises SourceError: the index serves another file than the one that was catalogued.
    """
    if release.extension:
        return _from_index(release, folder)
    if not release.commit:
        raise SourceUnavailable(f"nothing says where the C++ source of {release.name} is")
    git.export(git_url, release.commit, folder, *_IN_GIT)
    package = folder / "transformer_engine"
    common = package / "common"
    return Source(package / "pytorch" / "csrc", (common / "include", common, package, folder))


def _from_index(release: Release, folder: Path) -> Source:
    wanted = folder / "requirements.txt"
    wanted.write_text(
        f"{EXTENSION_PACKAGE}=={release.extension} --hash=sha256:{release.extension_sha256}\n"
    )
    command = [*_pip(folder), "--require-hashes", "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        refuse(
            f"the source package of the extension of {release.name}",
            f"{EXTENSION_PACKAGE} {release.extension}",
            done.stderr,
            do="The package's setup needs PyTorch, setuptools and wheel in this environment",
        )
    (package,) = folder.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        unpack(archive, folder)
    root = folder / package.name.removesuffix(".tar.gz")
    headers = root / "common_headers"
    return Source(root / "csrc", (headers / "common" / "include", headers, headers / "common"))


def with_extension(release: Release) -> Release:
    """Return a published release with the source package of its extension, where there is one."""
    with cleanup.scratch() as work:
        wanted = f"{EXTENSION_PACKAGE}=={release.wheel}"
        done = subprocess.run([*_pip(Path(work)), wanted], capture_output=True, check=False)
        packages = list(Path(work).glob("*.tar.gz"))
        if done.returncode or not packages:
            return release
        digest = hashlib.sha256(packages[0].read_bytes()).hexdigest()
        update = {"extension": release.wheel, "extension_sha256": digest}
        return release.model_copy(update=update)


def _pip(folder: Path) -> list[str]:
    """Return the command that downloads source packages into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    # Asked for its metadata, the package imports the PyTorch that it would be built for.
    return [*command, "--no-build-isolation", "--dest", str(folder)]
