"""The content of an image, and the tag that follows from it.

The tag ends in a digest of everything that goes into the image, so that an existing image
with this tag need not be built again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from matrix import __version__
from matrix.catalogue.releases import PACKAGE, Release
from matrix.errors import UsageError, without_credentials
from matrix.lane.containers import lock
from matrix.lane.containers.lock import BaseImage

LABEL = "te-matrix"
KIND = f"{LABEL}.kind"
RELEASE = f"{LABEL}.release"
BAND = f"{LABEL}.band"
SOURCE = f"{LABEL}.source"
COMMIT = f"{LABEL}.commit"
BASE = f"{LABEL}.base"
_PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The description of one image.

    :param kind: name of the Dockerfile.
    :param name: readable part of the tag, e.g. the version of the release.
    :param base: id of the image that it is built on.
    :param made_of: what else determines its content, for the digest in the tag.
    :param labels: labels of the image.
    :param arguments: build arguments in addition to ``BASE``.
    :param context: the build context: files and folders by their path in it; None is an empty
        folder.
    :param network: whether the build may use the network.
    """

    kind: str
    name: str
    base: str
    made_of: tuple[str, ...]
    labels: Mapping[str, str]
    arguments: Mapping[str, str] = dataclasses.field(default_factory=dict)
    context: Mapping[str, Path | None] = dataclasses.field(default_factory=dict)
    network: bool = False

    @property
    def dockerfile(self) -> str:
        """The Dockerfile's text."""
        return (lock.folder() / f"{self.kind}.Dockerfile").read_text()

    @property
    def tag(self) -> str:
        """Name and tag of the image, e.g. ``te-matrix/cpu:1.11-0a1b2c3d4e5f``."""
        parts = [self.dockerfile, self.base, *self.made_of, sorted(self.arguments.items())]
        parts.append(sorted(self.labels.items()))
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return f"{LABEL}/{self.kind}:{self.name}-{digest[:12]}"


def cpu_packages(base: BaseImage, base_id: str, requirements: tuple[str, ...]) -> ImageSpec:
    """Describe the image with the packages of the cpu lane. Its context lacks the wheels."""
    return ImageSpec(
        kind="cpu-packages",
        name="packages",
        base=base_id,
        made_of=requirements,
        labels=_labels("cpu-packages", base, base_id),
    )


def of_release(
    base: BaseImage,
    base_id: str,
    release: Release,
    band: str,
    source: Path | None,
    packages: str | None,
) -> ImageSpec:
    """Describe the image of one release.

    :param base: the base image.
    :param base_id: its id on the engine.
    :param band: name of the release's band.
    :param source: cpu lane: the folder that holds the release's ``transformer_engine``.
    :param packages: cpu lane: id of the image with the lane's packages.
    :raises UsageError: a setting of pip holds credentials.
    """
    bare = ImageSpec(
        kind=base.kind,
        name=release.name.replace("@", "-").replace("+", "-"),
        base=base_id,
        made_of=(release.digest,),
        labels=_labels(base.kind, base, base_id)
        | {
            RELEASE: release.name,
            BAND: band,
            SOURCE: release.identity if base.kind != "ngc" else base.reference,
            COMMIT: release.commit or "",
        },
    )
    match base.kind:
        case "ngc":
            return bare
        case "cpu":
            assert source is not None and packages is not None
            context = {PACKAGE: source / PACKAGE}
            return dataclasses.replace(bare, base=packages, context=context)
        case "pip":
            return _installed(bare, base, release)


def _installed(bare: ImageSpec, base: BaseImage, release: Release) -> ImageSpec:
    """Add what pip needs to install a release or a candidate."""
    context: dict[str, Path | None] = {"certificates": None, "candidate": None}
    if bundle := _certificates():
        context["certificates/ca.pem"] = bundle
    extras = f"[{base.extras}]" if base.extras else ""
    if release.path is None:
        required = f"{PACKAGE}{extras}=={release.wheel}"
    else:
        path = Path(release.path)
        place = f"candidate/{path.name}" if path.is_file() else "candidate"
        context[place] = path
        required = f"/{place}{extras}"
    settings = {name: public(name) for name in _PIP_SETTINGS if name in os.environ}
    arguments = {"TORCH": base.torch or "torch", "REQUIREMENT": required, **settings}
    return dataclasses.replace(bare, arguments=arguments, context=context, network=True)


def public(name: str) -> str:
    """Return an environment variable that may become a build argument.

    The history of an image shows all build arguments, so that they must hold no secret.

    :param name: name of the variable.
    :raises UsageError: it holds credentials.
    """
    value = os.environ[name]
    if without_credentials(value) != value:
        raise UsageError(
            f"{name} holds credentials, which the history of the image would show",
            do="Give the build an index that needs none: a mirror, or a proxy that knows them",
        )
    return value


def _certificates() -> Path | None:
    """Return the file with the certificates that pip trusts here, or None for its default."""
    named = (os.environ.get(name) for name in _CERTIFICATES)
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


def _labels(kind: str, base: BaseImage, base_id: str) -> dict[str, str]:
    return {
        KIND: kind,
        f"{LABEL}.harness": __version__,
        BASE: base.image,
        f"{LABEL}.base-digest": base.digest,
        f"{LABEL}.base-id": base_id,
    }
