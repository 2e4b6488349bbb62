"""The interface of runners, which open release processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.lane.process import ReleaseProcess
from matrix.lane.sources import CodeSource


class Runner(Protocol):
    """Opens release processes. Leaving the context ends them."""

    resident: bool
    """Whether processes stay open between saving and loading."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def open(self, release: Release, source: Path | None, lane: Lane) -> ReleaseProcess:
        """Start a process for one release, which imports its Transformer Engine.

        :param source: folder that holds the release's ``transformer_engine``; None for the
            installed one.
        :raises WorkerError: the release cannot be imported, or is not the one asked for.
        """


MakeRunner = Callable[[], tuple[CodeSource, Runner]]
"""Returns the code source and the runner for the machine on which it is called."""
