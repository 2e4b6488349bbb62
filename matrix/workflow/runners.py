"""Makes the runner of a selection, on this machine or on a worker of a cluster."""

from __future__ import annotations

import dataclasses

from matrix.catalogue.words import Lane, RunnerName
from matrix.lane.binding.folder import WithBinding, binding_folder
from matrix.lane.local import LocalRunner
from matrix.lane.runner import Runner
from matrix.lane.sources import CodeSource, FetchedSources, cache_folder
from matrix.plan.remaining import ReleaseFilter, every_release
from matrix.system.progress import Progress
from matrix.workflow import containers, local_gpu
from matrix.workflow.containers import ContainerOptions
from matrix.workflow.selecting import Selected


@dataclasses.dataclass(frozen=True)
class RunnerFactory:
    """Makes the runner of a selection on the machine on which it is called.

    Workers of a cluster get it pickled, so that it holds no evidence.

    :param selected: the selection, without evidence.
    :param git_url: the git repository, or a mirror, from which sources are fetched.
    :param offline: whether sources are taken from the cache alone.
    """

    selected: Selected
    options: ContainerOptions
    git_url: str
    offline: bool

    def __call__(self, progress: Progress | None = None) -> tuple[CodeSource, Runner]:
        """Return where the code of releases is, and their runner, after all checks.

        :raises EngineError: there is no container engine, or it cannot do what is asked.
        :raises DeviceError: there is no GPU that can do FP8 attention.
        """
        if self.selected.on_local_gpu:
            return local_gpu.runner(self.selected.selection.candidate, self.options.gpu)
        sources = FetchedSources(self.git_url, offline=self.offline)
        if binding := self.selected.selection.binding:
            bindings = binding_folder(binding)
            runner = LocalRunner(cache_folder() / "logs", bindings=bindings)
            return WithBinding(sources, bindings), runner
        if self.selected.plan.runner != RunnerName.DOCKER:
            return sources, LocalRunner(cache_folder() / "logs")
        return containers.runner(
            self.selected.plan,
            self.selected.documentation,
            self.selected.bases,
            self.options,
            sources,
            progress or Progress(),
        )

    def sources(self) -> CodeSource:
        """Return where the code of releases is, without making a runner."""
        if self.selected.plan.lane == Lane.GPU:
            return containers.in_images(self.selected.bases)
        return FetchedSources(self.git_url, offline=self.offline)

    def takes_part(self) -> ReleaseFilter:
        """Return a filter for the releases that can be run: all, or the installed one."""
        if not self.selected.on_local_gpu:
            return every_release
        found = local_gpu.find_installed(self.selected.selection.candidate)
        return lambda release: release.digest == found.release.digest
