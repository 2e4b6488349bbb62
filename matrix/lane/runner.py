"""What a runner is: it opens release processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from matrix.catalogue.releases import Release
from matrix.catalogue.words import Lane
from matrix.lane.process import ReleaseProcess
from matrix.lane.sources import CodeSource


class Runner(Protocol):
    """Opens release processes. A context manager that ends them when left."""

    resident: bool
    """Whether processes are kept between saving and loading."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def open(self, release: Release, source: Path | None, lane: Lane) -> ReleaseProcess:
        """Start a process for one release and have it import its Transformer Engine.

        :param source: folder that holds the release's ``transformer_engine``; None where
            the lane runs the one that is installed.
        :raises WorkerError: it cannot be imported, or is not what was asked for.
        """


MakeRunner = Callable[[], tuple[CodeSource, Runner]]
"""Says, on the machine it is called on, where the code of releases is, and what runs it."""
