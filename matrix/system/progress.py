"""What a run tells whoever watches it; ``console`` shows it."""


class Progress:
    """A watcher that is told everything and shows nothing."""

    def start(self, what: str, total: int) -> None:
        """Begin a phase of ``total`` steps."""

    def step(self, release: str) -> None:
        """One step of the phase is done, for ``release``."""

    def stop(self) -> None:
        """The run is over, or was interrupted."""

    def say(self, line: str) -> None:
        """Something happened that a reader should see."""
