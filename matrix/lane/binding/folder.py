"""A folder of compiled extensions, for running the cpu lane on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from matrix.catalogue.releases import Release
from matrix.catalogue.selection import AUTO
from matrix.errors import SourceUnavailable, UsageError
from matrix.lane.binding import build, toolchain
from matrix.lane.binding.sources import extension_name
from matrix.lane.sources import CodeSource

_BUILD = "`te-matrix binding` builds them for the PyTorch of its interpreter"


@dataclasses.dataclass(frozen=True)
class BindingFolder:
    """Compiled extensions: a folder for each release, by its name."""

    path: Path

    def file(self, release: Release) -> Path:
        """Return the compiled extension of a release.

        :raises SourceUnavailable: there is none.
        """
        file = self.path / release.name / f"{extension_name(release)}.so"
        if not file.is_file():
            raise SourceUnavailable(
                f"there is no compiled extension of {release.name} in {self.path}", do=_BUILD
            )
        return file


def binding_folder(text: str) -> BindingFolder:
    """Return the folder of an option ``--binding``.

    :raises UsageError: there is no such folder, or no PyTorch that extensions are compiled for.
    """
    path = build.folder(toolchain.find()) if text == AUTO else Path(text).absolute()
    if not path.is_dir():
        raise UsageError(f"there is no folder of compiled extensions {path}", do=_BUILD)
    return BindingFolder(path)


class WithBinding:
    """The code of those releases that have a compiled extension."""

    def __init__(self, sources: CodeSource, bindings: BindingFolder) -> None:
        self._sources = sources
        self._bindings = bindings

    def get(self, release: Release) -> Path | None:
        """Return the folder that holds the release's ``transformer_engine``.

        :raises SourceUnavailable: there is no source or no compiled extension.
        """
        self._bindings.file(release)
        return self._sources.get(release)
