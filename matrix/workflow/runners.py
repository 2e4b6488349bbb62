"""What runs the releases of a plan, and where their code is, on this machine or another."""

from __future__ import annotations

import dataclasses
from typing import Self

from matrix.catalogue.faq import Documentation
from matrix.catalogue.words import Lane, RunnerName
from matrix.lane.containers.lock import Base
from matrix.lane.local import LocalRunner
from matrix.lane.process import Runner
from matrix.lane.sources import CodeSource, FetchedSources, cache_folder, chosen_git_url
from matrix.plan.cells import Plan
from matrix.plan.remaining import TakesPart, everyone
from matrix.system.progress import Progress
from matrix.workflow import containers, local_gpu
from matrix.workflow.containers import ContainerOptions
from matrix.workflow.selecting import Selected


@dataclasses.dataclass(frozen=True)
class RunnerFactory:
    """Opens the runner of a plan wherever it is called; cluster workers get it pickled.

    :param bases: the images that containers are built on.
    :param candidates: the candidates of the selection, as they were given.
    """

    plan: Plan
    documentation: Documentation
    bases: tuple[Base, ...]
    candidates: tuple[str, ...]
    options: ContainerOptions
    git_url: str
    offline: bool

    @classmethod
    def of(
        cls, selected: Selected, options: ContainerOptions, git_url: str | None, *, offline: bool
    ) -> Self:
        """Return the factory for what was selected.

        :param git_url: where sources come from; None for the environment's choice.
        :param offline: whether sources are taken from the cache only.
        """
        return cls(
            selected.plan,
            selected.documentation,
            selected.bases,
            selected.selection.candidate,
            options,
            chosen_git_url(git_url),
            offline,
        )

    @property
    def on_local_gpu(self) -> bool:
        """Whether the release that is installed for this interpreter runs on its GPU."""
        return (self.plan.lane, self.plan.runner) == local_gpu.LOCAL_GPU

    def __call__(self, progress: Progress | None = None) -> tuple[CodeSource, Runner]:
        """Return where the code is and what runs it, after all checks.

        :raises EngineError: there is no container engine, or it cannot do what is asked.
        :raises DeviceError: there is no GPU that can do FP8 attention.
        """
        if self.on_local_gpu:
            return local_gpu.runner(self.candidates, self.options.gpu)
        source = FetchedSources(self.git_url, offline=self.offline)
        if self.plan.runner != RunnerName.DOCKER:
            return source, LocalRunner(cache_folder() / "logs")
        return containers.runner(
            self.plan, self.documentation, self.bases, self.options, source, progress or Progress()
        )

    def sources(self) -> CodeSource:
        """Return where the code is, without asking for what runs it."""
        if self.plan.lane == Lane.GPU:
            return containers.in_images(self.bases)
        return FetchedSources(self.git_url, offline=self.offline)

    def takes_part(self) -> TakesPart:
        """Return a test for the releases that can be run: all, or the installed one."""
        if not self.on_local_gpu:
            return everyone
        digest = local_gpu.find_installed(self.candidates).release.digest
        return lambda release: release.digest == digest
