"""Where the code of a selection's releases is, and what runs it: here or on another machine."""

from __future__ import annotations

import dataclasses

from matrix.cli import containers, here
from matrix.cli.containers import Containers
from matrix.cli.options import Selected
from matrix.lane.local import LocalRunner
from matrix.lane.process import Runner
from matrix.lane.sources import CodeSource, FetchedSources, cache_folder
from matrix.plan.remaining import ReleaseFilter, every_release
from matrix.system.progress import Progress


@dataclasses.dataclass(frozen=True)
class RunnerFactory:
    """Opens the runner of a selection, wherever it is called."""

    selected: Selected
    containers: Containers
    git_url: str
    offline: bool

    @property
    def on_this_gpu(self) -> bool:
        """Whether what is installed for this interpreter runs on its GPU."""
        return (self.selected.plan.lane, self.selected.plan.runner) == here.ON_THIS_GPU

    def __call__(self, progress: Progress | None = None) -> tuple[CodeSource, Runner]:
        """Return where the code is and what runs it, all checks passed.

        :raises EngineError: the docker runner has no engine to run on.
        :raises DeviceError: there is no GPU here that can do FP8 attention.
        """
        chosen = self.selected
        if self.on_this_gpu:
            return here.runner(chosen.typed.candidate, self.containers.gpu)
        source = FetchedSources(self.git_url, offline=self.offline)
        if chosen.plan.runner != "docker":
            return source, LocalRunner(cache_folder() / "logs")
        return containers.runner(
            chosen.plan,
            chosen.documentation,
            chosen.bases,
            self.containers,
            source,
            progress or Progress(),
        )

    def sources(self) -> CodeSource:
        """Return where the code is, without asking for what runs it."""
        if self.selected.plan.lane == "gpu":
            return containers.in_images(self.selected.bases)
        return FetchedSources(self.git_url, offline=self.offline)

    def takes_part(self) -> ReleaseFilter:
        """Return a test for the releases that can be run: all, or the one installed here."""
        if not self.on_this_gpu:
            return every_release
        installed = here.known_here(self.selected.typed.candidate).release
        return lambda release: release.digest == installed.digest
