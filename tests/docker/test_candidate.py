"""Rule: an image under test is one more release, known by what is in it."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from helpers.running import TEST_BASE
from matrix.catalogue import releases
from matrix.catalogue.words import RunnerName
from matrix.errors import EngineError, UsageError
from matrix.lane.containers.candidate import from_image
from matrix.lane.sources import FetchedSources

IMAGE = "te-matrix-test/candidate:1"


@pytest.fixture
def image(client: Any) -> Any:
    """An image with the Python code of 2.17.1 where its python3 finds it."""
    source = FetchedSources().get(releases.load()["2.17.1"])
    context = io.BytesIO()
    dockerfile = f"FROM {TEST_BASE}\nCOPY site /usr/lib/python3/dist-packages\n".encode()
    with tarfile.open(fileobj=context, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile))
        archive.add(source, "site")
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True)
    yield IMAGE
    client.images.remove(IMAGE, force=True)


def test_its_python_files_are_run_in_the_cpu_lane(image, client, bench, make_host) -> None:
    release, base = from_image(client, image)
    original = releases.load()["2.17.1"]
    assert (release.version, release.digest) == (original.version, original.digest)
    assert (release.opt_in, release.image) == (original.opt_in, image)
    assert base.digest == client.images.get(image).id

    bench.known = bench.known.with_candidate(release)
    made = bench.plan(["1.11"], [release.name], variants=("trusted",), runner=RunnerName.DOCKER)
    bench.run(made, host=make_host())
    (verdict,) = bench.judge(made).verdicts
    assert (verdict.outcome, verdict.verdict) == ("loaded", "conforms")


def test_an_image_that_is_not_there(client) -> None:
    with pytest.raises(UsageError, match="nobody:1 is no candidate"):
        from_image(client, "nobody:1")


def test_an_image_without_transformer_engine(client) -> None:
    with pytest.raises(EngineError, match="holds no Transformer Engine"):
        from_image(client, TEST_BASE)
