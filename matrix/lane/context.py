"""Where a release process runs, and how files are transferred to and from there."""

from __future__ import annotations

from pathlib import Path


class ProcessContext:
    """The context of a process on this machine. Other runners have subclasses."""

    image: str | None = None
    """Id of the container image; None without a container."""

    source: str | None = None
    """The Transformer Engine that the image's label names; None without a container."""

    def path_to_read(self, path: Path) -> str:
        """Make a file readable for the process, and return its path there."""
        return str(path)

    def path_to_write(self, path: Path) -> str:
        """Return the path that the process writes to, before :meth:`collect` copies it."""
        return str(path)

    def collect(self, path: Path) -> None:
        """Copy the file that the process has written to ``path``.

        :raises WorkerError: it cannot be copied.
        """

    def exit_reason(self) -> str:
        """Return why the process ended, or an empty string if that is not known."""
        return ""

    def close(self) -> None:
        """End all processes there and release the resources."""
