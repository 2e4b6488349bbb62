"""The interface by which long work reports its progress."""


class Progress:
    """Ignores all reports. Subclasses show them."""

    def start(self, what: str, total: int) -> None:
        """Report that a phase begins.

        :param what: name of the phase.
        :param total: number of its steps.
        """

    def step(self, release: str) -> None:
        """Report that one step of the phase is done.

        :param release: the release that it was done for.
        """

    def stop(self) -> None:
        """Report that the work is finished or was interrupted."""

    def say(self, line: str) -> None:
        """Show one line of text to the user."""
