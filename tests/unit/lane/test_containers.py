"""Rule: what an image is built on and made of follows from tables, and from nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matrix.catalogue.releases import Catalogue
from matrix.errors import EngineError, SourceUnavailable, TableError, UsageError
from matrix.lane.containers import image_spec, lock, packages
from matrix.lane.containers.lock import BaseImage
from matrix.system import cleanup

DIGEST = "sha256:" + "a" * 64
UNPINNED = BaseImage(kind="ngc", image="nvcr.io/nvidia/pytorch:24.10-py3", digest="unlocked")
PINNED = UNPINNED.model_copy(update={"digest": DIGEST})


@pytest.fixture
def bases() -> tuple[BaseImage, ...]:
    return lock.load(lock.folder() / "images.lock")


def test_the_lock_and_the_catalogue_agree(known: Catalogue, bases: tuple[BaseImage, ...]) -> None:
    carried = {release.image for release in known.releases if release.image}
    assert {base.image for base in bases if base.kind == "ngc"} == carried
    assert len({(base.kind, base.image) for base in bases}) == len(bases)


def test_every_release_has_a_base_where_there_can_be_one(
    known: Catalogue, bases: tuple[BaseImage, ...]
) -> None:
    without = []
    for release in known.releases:
        assert lock.base_for(bases, "cpu", release).kind == "cpu"
        try:
            kind = lock.base_for(bases, "gpu", release).kind
            assert kind == ("ngc" if release.image else "pip")
        except SourceUnavailable as error:
            assert f"release {release.name} in the gpu lane" in str(error)
            without.append(release.name)
    # Neither an image nor a package on the index.
    assert without == ["1.2", "2.2.1"]


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("python:3.11", f"python@{DIGEST}"),
        ("localhost:5000/python:3.11", f"localhost:5000/python@{DIGEST}"),
        ("localhost:5000/python", f"localhost:5000/python@{DIGEST}"),
    ],
)
def test_a_pinned_base_is_built_on_by_digest(image: str, reference: str) -> None:
    assert BaseImage(kind="cpu", image=image, digest=DIGEST).reference == reference
    assert BaseImage(kind="cpu", image=image, digest="unlocked").reference == image


def test_unpinned_bases_are_refused_by_name() -> None:
    lock.require_pinned([PINNED])
    with pytest.raises(EngineError, match=r"not pinned by digest: nvcr.io/nvidia/pytorch:24.10"):
        lock.require_pinned([PINNED, UNPINNED])


def test_a_lock_is_written_as_it_is_read(tmp_path: Path, bases: tuple[BaseImage, ...]) -> None:
    lock.write(tmp_path / "images.lock", bases)
    assert lock.load(tmp_path / "images.lock") == bases
    packaged = lock.folder() / "images.lock"
    assert (tmp_path / "images.lock").read_text() == packaged.read_text()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('kind = "gpu"\nimage = "a:1"\ndigest = "unlocked"', "base.0.kind"),
        ('kind = "cpu"\nimage = "a:1"\ndigest = "sha256:12"', "base.0.digest"),
        ('kind = "cpu"\nimage = "a:1@x"\ndigest = "unlocked"', "base.0.image"),
        ('kind = "pip"\nimage = "a:1"\ndigest = "unlocked"\nreleases = "2.9-"', "releases"),
    ],
)
def test_a_malformed_lock_names_the_place(tmp_path: Path, row: str, complaint: str) -> None:
    path = tmp_path / "images.lock"
    path.write_text(f"[[base]]\n{row}\n")
    with pytest.raises(TableError, match=complaint):
        lock.load(path)


def test_a_base_named_by_hand_stands_for_every_kind_that_builds_on_one(
    bases: tuple[BaseImage, ...],
) -> None:
    named = lock.given(f"mine@{DIGEST}", bases)
    assert {(base.kind, base.image, base.digest) for base in named} == {
        ("cpu", "mine", DIGEST),
        ("pip", "mine", DIGEST),
    }
    with pytest.raises(UsageError, match="--base a b is no image"):
        lock.given("a b", bases)


def test_evidence_of_an_image_is_kept_under_the_images_digest(known: Catalogue) -> None:
    release = known["1.11"]
    by_tag, by_digest = (lock.identified([base], "gpu", release) for base in (UNPINNED, PINNED))
    assert len({release.digest, by_tag.digest, by_digest.digest}) == 3
    cpu = BaseImage(kind="cpu", image="python:3.11", digest=DIGEST)
    assert lock.identified([cpu], "cpu", release) == release
    assert lock.identified([], "gpu", release) == release


def a_tag(release: str, known: Catalogue, base_id: str = "sha256:1", **changes: str) -> str:
    base = PINNED.model_copy(update=changes)
    return image_spec.of_release(base, base_id, known[release], "1.8-1.11", None, None).tag


def test_a_tag_changes_with_what_the_image_is_made_of(known: Catalogue) -> None:
    assert a_tag("1.11", known) == a_tag("1.11", known)
    assert a_tag("1.11", known).startswith("te-matrix/ngc:1.11-")
    others = [a_tag("1.10", known), a_tag("1.11", known, "sha256:2")]
    others.append(a_tag("1.11", known, digest="sha256:" + "b" * 64))
    assert len({a_tag("1.11", known), *others}) == 4


def test_a_package_is_installed_with_the_extras_of_its_row(
    known: Catalogue, bases: tuple[BaseImage, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "file:///index")
    base = lock.base_for(bases, "gpu", known["2.17.1"])
    plan = image_spec.of_release(base, "sha256:1", known["2.17.1"], ">=1.12", None, None)
    assert plan.arguments["REQUIREMENT"] == "transformer_engine[pytorch,core_cu13]==2.17.1"
    assert plan.arguments["PIP_INDEX_URL"] == "file:///index"
    assert (plan.network, plan.context["candidate"]) == (True, None)


def test_the_cpu_lanes_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    torch, *others = packages.requirements()
    assert torch.startswith("torch==")
    assert {"triton", "numpy", "pydantic"} <= set(others)
    monkeypatch.setenv("TE_MATRIX_TORCH", "torch==9")
    assert packages.requirements() == ("torch==9", *others)


def test_wheels_are_asked_for_as_the_base_needs_them() -> None:
    options = list(packages.WheelTarget(python="3.12", machine="aarch64", glibc="28").options())
    assert "--python-version=3.12" in options
    assert "--platform=manylinux_2_28_aarch64" in options
    assert "--platform=manylinux_2_29_aarch64" not in options


def test_wheels_of_a_process_that_is_no_more_are_removed(tmp_path: Path) -> None:
    alive = tmp_path / f"{cleanup.mark('wheels-')}x"
    dead = tmp_path / alive.name.replace(f"-{os.getpid()}-", "-4194305-")
    dead.mkdir()
    alive.mkdir()
    with packages.wheel_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == [alive]
