"""Ask a release that is not in the catalogue which modules and recipes it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matrix.catalogue import features
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.lane.local import LocalRunner
from matrix.lane.protocol import Hello
from matrix.lane.sources import FetchedSources, cache_folder


def asked(releases: Sequence[Release]) -> Iterator[str]:
    """Yield how each release differs from ``features.toml``, one line per release.

    Each is imported in the cpu lane.

    :param releases: releases that are not in the catalogue.
    :raises MatrixError: a source cannot be fetched, or a release cannot be imported.
    """
    sources = FetchedSources()
    with LocalRunner(cache_folder() / "logs") as runner:
        for release in releases:
            source = sources.get(release)
            # Of a candidate any features are accepted.
            opened = runner.open(as_candidate(release, str(source)), source, Lane.CPU)
            yield describe(release, opened.hello)
            opened.close()


def as_candidate(release: Release, path: str) -> Release:
    """Return a release as a candidate whose code lies at ``path``."""
    return Release(version=release.version, digest=release.digest, opt_in=release.opt_in, path=path)


def describe(release: Release, hello: Hello) -> str:
    """Return in what the modules and recipes of a release differ from ``features.toml``."""
    known = features.load()
    found = known.differences(release, hello.modules, hello.recipes)
    new = known.unknown(hello.modules, hello.recipes)
    if new:
        found.append(f"{', '.join(new)}: neither known nor listed under other")
    return f"{release.version}: {'; '.join(found) or 'it has what features.toml says'}"
