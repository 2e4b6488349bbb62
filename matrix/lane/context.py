"""Where a release process runs, and how files get to it and back."""

from __future__ import annotations

from pathlib import Path


class ProcessContext:
    """The context of a process on this machine; a runner elsewhere has one of its own."""

    image: str | None = None
    """Id of the container image, where there is one."""

    source: str | None = None
    """What that image says its Transformer Engine is, where there is one."""

    def path_to_read(self, path: Path) -> str:
        """Return how the process sees a file that it shall read."""
        return str(path)

    def path_to_write(self, path: Path) -> str:
        """Return where the process shall write what :meth:`collect` brings to ``path``."""
        return str(path)

    def collect(self, path: Path) -> None:
        """Bring what the process wrote to ``path``.

        :raises WorkerError: it cannot be had.
        """

    def exit_reason(self) -> str:
        """Return how the process ended, where that is known here; else an empty string."""
        return ""

    def close(self) -> None:
        """End whatever still runs there, and give up what was held for it."""
