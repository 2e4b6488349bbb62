"""``containers/images.lock``: the base images, by readable tag and by digest.

No engine is needed to read it, because judging uses it too: the digests are part of the keys
of evidence.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from matrix.catalogue import tables
from matrix.catalogue.ranges import covers
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.errors import EngineError, SourceUnavailable, UsageError, os_errors_as
from matrix.system import shipped
from matrix.system.counting import counted
from matrix.system.digests import of_tree

UNLOCKED = "unlocked"
Kind = Literal["ngc", "pip", "cpu"]
KINDS: dict[Lane, tuple[Kind, ...]] = {Lane.GPU: ("ngc", "pip"), Lane.CPU: ("cpu",)}
"""The kinds of image for a lane, the preferred one first."""

_HEAD = """\
# Base images of the containers, by kind; `te-matrix images lock` reads the digests.
#
# kind      ngc: carries Transformer Engine itself, release by release (releases.toml)
#           pip: CUDA, cuDNN and a compiler, for releases installed from the package index
#           cpu: Python alone, for the cpu lane
# image     where it is, with the tag that people read
# digest    what is used; "unlocked" where no registry has been read yet
# releases  pip only: the releases that it serves
# torch     pip only: the PyTorch that those are built against
# extras    pip only: the extras of transformer_engine to ask for
"""


class BaseImage(tables.Row):
    """One row of the lock. The head of the file explains the fields."""

    kind: Kind
    image: str = Field(pattern=r"^[^@\s]+$")
    digest: str = Field(pattern=r"^(unlocked|sha256:[0-9a-f]{64})$")
    releases: str | None = None
    torch: str | None = None
    extras: str | None = None

    @field_validator("releases")
    @classmethod
    def _closed(cls, ranges: str | None) -> str | None:
        if ranges is not None:
            covers(ranges)
        return ranges

    @property
    def pinned(self) -> bool:
        """Whether the digest is known."""
        return self.digest != UNLOCKED

    @property
    def reference(self) -> str:
        """The image's name with the digest if that is known, else with the tag."""
        name, colon, tag = self.image.rpartition(":")
        untagged = name if colon and "/" not in tag else self.image
        return f"{untagged}@{self.digest}" if self.pinned else self.image

    def serves(self, release: Release) -> bool:
        """Tell whether the image of a release can be built on this base."""
        match self.kind:
            case "ngc":
                return release.image == self.image
            case "pip":
                published = release.wheel is not None or release.candidate
                return published and covers(self.releases or "")(release.version)
            case "cpu":
                return True


class _Table(tables.Row):
    base: tuple[BaseImage, ...]


def folder() -> Path:
    """Return the folder of the Dockerfiles and the lock, in the package or in a checkout."""
    return shipped.folder("dockerfiles", "containers")


def default() -> Path:
    """Return the path of the lock: ``TE_MATRIX_IMAGES_LOCK``, else the one of the package."""
    return Path(os.environ.get("TE_MATRIX_IMAGES_LOCK") or folder() / "images.lock")


def load(path: Path) -> tuple[BaseImage, ...]:
    """Read a lock.

    :raises TableError: a row is malformed.
    """
    return tables.load(path, _Table).base


def given(text: str, bases: Iterable[BaseImage]) -> tuple[BaseImage, ...]:
    """Return the rows for a base image from the command line: one per cpu and pip row.

    :param text: ``NAME:TAG`` or ``NAME@sha256:...``.
    :raises UsageError: ``text`` is neither.
    """
    image, _, digest = text.partition("@")
    changes = {"image": image, "digest": digest or UNLOCKED}
    try:
        return tuple(
            BaseImage(**base.model_dump() | changes)
            for base in bases
            if base.kind in ("cpu", "pip")
        )
    except ValidationError as error:
        raise UsageError(
            f"--base {text} is no image", do="Give NAME:TAG or NAME@sha256:DIGEST"
        ) from error


def base_for(bases: Iterable[BaseImage], lane: Lane, release: Release) -> BaseImage:
    """Return the base image of a release in a lane.

    :raises SourceUnavailable: there is none.
    """
    rows = list(bases)
    for kind in KINDS[lane]:
        for base in rows:
            if base.kind == kind and base.serves(release):
                return base
    raise SourceUnavailable(
        f"no base image carries release {release.name} in the {lane} lane",
        why="the catalogue names no NGC image for it that the lock has, "
        "and no pip row of the lock covers it",
        do="Add a row to the lock (--images-lock), or give an image as a --candidate",
    )


def identified(bases: Iterable[BaseImage], lane: Lane, release: Release) -> Release:
    """Return the release with the digest that is part of the keys of its evidence in a lane.

    For the cpu lane that is the catalogue's digest of the Python files. An image that comes
    with Transformer Engine holds a build of its own, which the image's digest identifies. A
    candidate is compiled, so that all its files matter.
    """
    try:
        base = base_for(bases, lane, release)
    except SourceUnavailable:
        return release
    if base.kind == "ngc":
        digest = hashlib.sha256(base.reference.encode()).hexdigest()
    elif base.kind == "pip" and release.path is not None:
        digest = of_tree(Path(release.path))
    else:
        return release
    return release.model_copy(update={"digest": digest})


def require_pinned(bases: Iterable[BaseImage]) -> None:
    """Check that base images are pinned by digest.

    :raises EngineError: one is not.
    """
    loose = sorted({base.image for base in bases if not base.pinned})
    if loose:
        raise EngineError(
            f"{counted(len(loose), 'base image')} not pinned by digest: {', '.join(loose)}",
            why="no registry has been read for them yet, so what would be built on is not certain",
            do="`te-matrix images lock` pins them where a registry can be reached; "
            "--allow-unpinned builds on whatever the tag means now",
        )


def write(path: Path, bases: Iterable[BaseImage]) -> None:
    """Replace a lock in one step.

    :raises EngineError: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    with os_errors_as(EngineError, f"the lock {path} cannot be written"):
        part.write_text("\n".join([_HEAD, *(_row(base) for base in bases)]))
        part.replace(path)


def _row(base: BaseImage) -> str:
    fields = base.model_dump(exclude_none=True)
    return "\n".join(["[[base]]", *(f'{key} = "{value}"' for key, value in fields.items()), ""])
