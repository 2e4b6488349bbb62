"""Rule: every release has the modules and recipes that the catalogue says, and no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from matrix.catalogue import features, releases
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.errors import SourceUnavailable
from matrix.lane.asking import as_candidate
from matrix.lane.local import LocalRunner
from matrix.lane.sources import FetchedSources, cache_folder


@pytest.mark.parametrize("release", releases.load().releases, ids=lambda release: release.name)
def test_a_release_exports_what_the_table_says(release: Release, runner: LocalRunner) -> None:
    known = features.load()
    try:
        source = FetchedSources().get(release)
    except SourceUnavailable as error:
        pytest.skip(str(error))
    opened = runner.open(as_candidate(release, str(source)), source, Lane.CPU)
    exported = opened.hello.modules, opened.hello.recipes
    opened.close()
    assert known.differences(release, *exported) == []
    assert known.unknown(*exported) == []


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner(cache_folder() / "logs") as opened:
        yield opened
