"""Builds, observes and compares the extensions of several releases."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from matrix.catalogue.releases import Release
from matrix.errors import SourceError, SourceUnavailable
from matrix.lane.binding import asked, build, compare, sources
from matrix.lane.binding.compare import Comparison
from matrix.lane.binding.observation import Observed, Observer
from matrix.lane.binding.toolchain import Toolchain
from matrix.lane.sources import FetchedSources
from matrix.system.progress import Progress


@dataclasses.dataclass(frozen=True)
class Built:
    """The compiled extension of a release, or why there is none."""

    release: Release
    file: Path | None
    failure: SourceError | SourceUnavailable | None = None


def build_all(
    releases: Sequence[Release], toolchain: Toolchain, git_url: str, progress: Progress
) -> list[Built]:
    """Build the extensions of releases, several at a time."""

    def one(release: Release) -> Built:
        try:
            return Built(release, build.built(release, toolchain, git_url))
        except (SourceError, SourceUnavailable) as error:
            return Built(release, None, error)
        finally:
            progress.step(release.name)

    import psutil  # not needed by any other part of the harness's start

    at_once = min(os.cpu_count() or 1, int(psutil.virtual_memory().available / build.MEMORY))
    progress.start("compiling", len(releases))
    with ThreadPoolExecutor(max(1, at_once)) as pool:
        return list(pool.map(one, releases))


def observe(
    built: Sequence[Built], code: FetchedSources, observer: Observer, progress: Progress
) -> Iterator[Observed]:
    """Yield what is known of compiled extensions.

    :raises WorkerError: one cannot be observed.
    """
    progress.start("observing", len(built))
    for one in built:
        name = sources.extension_name(one.release)
        facts = observer.observe(name, one.release.version, one.file)
        names = asked.names(code.get(one.release))
        progress.step(one.release.name)
        yield Observed(one.release.name, facts, frozenset(names))


def compared(one: Observed, built: Built, observer: Observer) -> Comparison:
    """Compare the compiled extension of a release with the stand-in, each reading the other's."""
    name, version = sources.extension_name(built.release), built.release.version
    standin = observer.observe(name, version, None, one.compiled.pickles)
    compiled = observer.observe(name, version, built.file, standin.pickles)
    return compare.compare(one.release, compiled, standin, one.asked)
