"""The files of a checkpoint, each with its format: found in one walk, then handed on."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from matrix.checkpoint import completeness, limits, states
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import (
    CheckpointError,
    incomplete,
    refusing_malformed,
    refusing_unreadable,
)
from matrix.checkpoint.formats import distributed, safetensors, torch_save
from matrix.checkpoint.formats.base import Format, Part
from matrix.checkpoint.formats.distributed import Distributed
from matrix.checkpoint.formats.safetensors import Safetensors
from matrix.checkpoint.formats.state_shard import StateShard
from matrix.checkpoint.formats.torch_save import TorchSave
from matrix.checkpoint.limits import Budget

_FORMATS: tuple[Format, ...] = (Distributed(), Safetensors(), StateShard(), TorchSave())
"""In order of precedence: a file belongs to the first format that claims it."""
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".pt2")
"""Suffixes of files that no format here reads, and that whoever loads them may execute."""
_SHOWN = 1000
_SUFFIXES = (*torch_save.SUFFIXES, distributed.DATA_SUFFIX)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a checkpoint."""

    path: Path
    parts: tuple[Part, ...]
    """The files to read. A checkpoint that is one file is its own only part."""
    others: tuple[Path, ...] = ()
    """Files of a folder that are not read, such as those that hold only tensors."""
    linked_folders: tuple[Path, ...] = ()
    """Links to folders in a folder; they are not followed."""
    label: str = ""
    """The format of a folder, as text for users; empty for a file."""

    @property
    def is_folder(self) -> bool:
        """Whether the checkpoint is a folder."""
        return bool(self.label)

    def read(self) -> Contents:
        """Read the checkpoint without executing anything in it, and without reading its weights.

        :raises CheckpointError: a file is not in its format, is incomplete, or cannot be read.
        """
        contents = Contents()
        budget = Budget()
        with refusing_unreadable(self.path):
            for part in self.parts:
                with refusing_malformed(
                    f"{part.file} is not read",
                    why="it is damaged, or was made to do harm",
                    do="Name a whole checkpoint",
                ):
                    contents.format = part.format.read(part, contents, budget)
                budget.next_file()
        contents.add_lookups(budget.lookups)
        contents.notes += self._unread()
        contents.format = self.label or contents.format
        return contents

    def _unread(self) -> list[str]:
        """Return what users should know of files in a folder that may hold code."""
        unread = [file.name for file in self.others if file.suffix in _PICKLES]
        if not unread:
            return []
        return [f"not read, though loading them may run code: {', '.join(unread)}"[:_SHOWN]]

    def new_name(self, edit: Edit) -> str:
        """Return the file that holds a state after an edit, relative to the checkpoint."""
        return self._by_name[edit.state.part].format.new_name(edit)

    @functools.cached_property
    def _by_name(self) -> dict[str, Part]:
        return {part.name: part for part in self.parts}


def find(path: Path, name: str | None = None) -> Layout:
    """Find the files of a checkpoint.

    :param path: a file or a folder.
    :param name: the name of a file that ``path`` does not show, for a file that has none yet.
    :raises CheckpointError: there are none, or some are missing.
    """
    with refusing_unreadable(path):
        if path.is_dir():
            return _folder(path)
        if not path.is_file():
            raise CheckpointError(
                f"{path} is no file or folder",
                why="it does not exist, or is a link that leads nowhere",
                do="Name a checkpoint",
            )
    name = name or path.name
    format_ = Safetensors() if name.endswith(safetensors.SUFFIX) else TorchSave()
    return Layout(path, (Part(path, name, format_),))


def _folder(path: Path) -> Layout:
    files, linked_folders = _walk(path)
    indexed = {file.parent for file in files if file.name == distributed.INDEX}
    for file in files:
        if file.suffix == distributed.DATA_SUFFIX and file.parent not in indexed:
            raise incomplete(path, f"{file.relative_to(path)} has no .metadata beside it")
    found = {file: format_ for file in files if (format_ := _format_of(file))}
    if not found:
        raise CheckpointError(
            f"{path} holds no checkpoint",
            why=f"nothing in it ends in {', '.join(_SUFFIXES)} or .safetensors",
            do="Name the folder that the framework wrote",
        )
    own = [file for file in found if file.name != distributed.INDEX]
    completeness.check(path, own, files)
    parts = [Part(f, f.relative_to(path).as_posix(), format_) for f, format_ in found.items()]
    parts.sort(key=lambda part: part.file.name != distributed.INDEX)
    others = tuple(file for file in files if file not in found)
    label = "distributed checkpoint (torch_dist)" if indexed else _label(own)
    return Layout(path, tuple(parts), others, linked_folders, label)


def _walk(path: Path) -> tuple[list[Path], tuple[Path, ...]]:
    """Return every file in a folder, and every link to a folder; links are not followed.

    :raises CheckpointError: there are too many, or a link leads nowhere.
    """
    files: list[Path] = []
    links: list[Path] = []
    count = 0
    for folder, folders, names in os.walk(path, followlinks=False):
        links += (place for name in folders if (place := Path(folder) / name).is_symlink())
        count += len(names)
        if count > limits.FILES:
            raise CheckpointError(
                f"{path} holds more than {limits.FILES} files", do="Name the checkpoint in it"
            )
        for name in names:
            file = Path(folder) / name
            if file.is_symlink() and not file.exists():
                raise incomplete(path, f"{file.relative_to(path)} is a link that leads nowhere")
            if file.is_file():
                files.append(file)
    return sorted(files), tuple(links)


def _format_of(file: Path) -> Format | None:
    return next((format_ for format_ in _FORMATS if format_.claims(file)), None)


def _label(files: Sequence[Path]) -> str:
    if any(completeness.RANK.match(file.parent.name) for file in files):
        return "Megatron-LM mp_rank folders"
    if any(states.is_state(file.parent.name) for file in files):
        return "folder with sharded extra states"
    if all(file.suffix == safetensors.SUFFIX for file in files):
        return "safetensors shards"
    return "folder of torch.save files"
