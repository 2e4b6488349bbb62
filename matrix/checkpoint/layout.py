"""The files of a checkpoint, each with its format: found in one walk, then handed on."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matrix.checkpoint import completeness, file_kinds, limits, states
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import (
    CheckpointError,
    incomplete,
    refusing_malformed,
    refusing_unreadable,
)
from matrix.checkpoint.file_kinds import kind_of
from matrix.checkpoint.formats import distributed, hugging_face, safetensors, torch_save, zarr_array
from matrix.checkpoint.formats.base import Format, Part
from matrix.checkpoint.formats.distributed import Distributed
from matrix.checkpoint.formats.hugging_face import HuggingFaceIndex
from matrix.checkpoint.formats.safetensors import Safetensors
from matrix.checkpoint.formats.state_shard import StateShard
from matrix.checkpoint.formats.torch_save import TorchSave
from matrix.checkpoint.formats.zarr_array import ZarrArray
from matrix.checkpoint.limits import Budget

_FORMATS: tuple[Format, ...] = (
    Distributed(),
    HuggingFaceIndex(),
    Safetensors(),
    StateShard(),
    ZarrArray(),
    TorchSave(),
)
"""In order of precedence: a file belongs to the first format that claims it."""
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".pt2")
"""Suffixes of files that no format here reads, and that whoever loads them may execute."""
_UNREAD_LENGTH = 1000
_SUFFIXES = (*torch_save.SUFFIXES, distributed.DATA_SUFFIX)
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a checkpoint."""

    path: Path
    parts: tuple[Part, ...]
    """The files to read. A checkpoint that is one file is its own only part."""
    others: tuple[Path, ...] = ()
    """Files of a folder that are not read, such as those that hold only tensors."""
    linked: tuple[Path, ...] = ()
    """Those files of a folder that are links; what they lead to is read, and copied."""
    empty: tuple[Path, ...] = ()
    """Folders in a folder that hold nothing."""
    left_out: Mapping[Path, str] = dataclasses.field(default_factory=dict)
    """What is in a folder beside files, and is neither read nor copied, with what it is: links
    to folders, named pipes, sockets, devices."""
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
            contents.unsearched += [
                file.relative_to(self.path).as_posix() for file in self.others if _is_unread(file)
            ]
        contents.add_lookups(budget.lookups)
        if self.is_folder:
            contents.format = self.label
            files = [part.file for part in self.parts]
            completeness.check_ranks(self.path, files, contents.ranks)
        for note in (*self._notes(), *self._unread()):
            contents.add_note(note)
        return contents

    def _unread(self) -> list[str]:
        """Return what users should know of files in a folder that may hold code."""
        unread = [file.name for file in self.others if file.suffix in _PICKLES]
        if not unread:
            return []
        return [f"not read, though loading them may run code: {', '.join(unread)}"[:_UNREAD_LENGTH]]

    def new_name(self, edit: Edit) -> str:
        """Return the file that holds a state after an edit, relative to the checkpoint."""
        return self._by_name[edit.state.part].format.new_name(edit)

    @functools.cached_property
    def _by_name(self) -> dict[str, Part]:
        return {part.name: part for part in self.parts}

    def _notes(self) -> Iterator[str]:
        for place, what in self.left_out.items():
            yield f"{place.relative_to(self.path)} is {what}, and was not read"
        if self.linked:
            shown = ", ".join(str(file.relative_to(self.path)) for file in self.linked[:_SHOWN])
            more = ", ..." if len(self.linked) > _SHOWN else ""
            yield (
                f"{len(self.linked)} of its files are links ({shown}{more}); what they lead to "
                "was read, and is what remap copies"
            )


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
            raise _no_file(path)
    name = name or path.name
    if name.endswith(_IN_A_FOLDER):
        raise CheckpointError(
            f"{path} is one file of a checkpoint that is a folder",
            why="it says or holds where things are, not what they are",
            do=f"Name the folder, {path.parent}",
        )
    format_ = Safetensors() if name.endswith(safetensors.SUFFIX) else TorchSave()
    return Layout(path, (Part(path, name, format_),))


_IN_A_FOLDER = (
    distributed.INDEX,
    distributed.DATA_SUFFIX,
    zarr_array.NAME,
    *hugging_face.SUFFIXES,
)
"""Ends of names of files that say nothing without those beside them."""


def _no_file(path: Path) -> CheckpointError:
    with contextlib.suppress(OSError, ValueError):
        if what := file_kinds.special(path.stat().st_mode):
            return CheckpointError(f"{path} is {what}", do="Name a checkpoint that is a file")
    return CheckpointError(
        f"{path} is no file or folder",
        why="it does not exist, or is a link that leads nowhere",
        do="Name a checkpoint",
    )


def _folder(path: Path) -> Layout:
    walked = _walk(path)
    files = walked.files
    indexed = {file.parent for file in files if file.name == distributed.INDEX}
    for file in files:
        if file.suffix == distributed.DATA_SUFFIX and file.parent not in indexed:
            raise incomplete(path, f"{file.relative_to(path)} has no .metadata beside it")
    found = {file: format_ for file in files if (format_ := _format_of(file))}
    if not found:
        raise _nothing_in(path, files)
    own = [file for file in found if file.name != distributed.INDEX]
    completeness.check(path, own, files)
    parts = [Part(f, f.relative_to(path).as_posix(), format_) for f, format_ in found.items()]
    parts.sort(key=_order)
    others = tuple(file for file in files if file not in found)
    label = "distributed checkpoint (torch_dist)" if indexed else _label(own)
    return Layout(
        path,
        tuple(parts),
        others,
        linked=tuple(walked.linked),
        empty=tuple(walked.empty),
        left_out=walked.left_out,
        label=label,
    )


def _is_unread(file: Path) -> bool:
    """Return whether a file that is not read begins as ``torch.save`` and ``pickle`` write."""
    if file.suffix == distributed.DATA_SUFFIX or (file.parent / zarr_array.NAME).exists():
        return False  # weights, which an index or .zarray describes
    with file.open("rb") as stream:
        return stream.read(4).startswith(states.STARTS)


def _order(part: Part) -> int:
    """Sort indices of distributed checkpoints first, and last those that name others' keys."""
    if isinstance(part.format, Distributed):
        return 0
    return 2 if isinstance(part.format, HuggingFaceIndex) else 1


def _nothing_in(path: Path, files: Sequence[Path]) -> CheckpointError:
    own = (file for file in files if file.parent == path)
    kinds = (f"{file.name} is {kind}" for file in own if (kind := kind_of(file)))
    why = "; ".join(
        (
            f"nothing in it ends in {', '.join(_SUFFIXES)} or .safetensors",
            *itertools.islice(kinds, _SHOWN),
        )
    )
    return CheckpointError(
        f"{path} holds no checkpoint", why=why, do="Name the folder that the framework wrote"
    )


@dataclasses.dataclass
class _Walked:
    """What is in a folder, at any depth."""

    files: list[Path] = dataclasses.field(default_factory=list)
    linked: list[Path] = dataclasses.field(default_factory=list)
    empty: list[Path] = dataclasses.field(default_factory=list)
    left_out: dict[Path, str] = dataclasses.field(default_factory=dict)


def _walk(path: Path) -> _Walked:
    """Return what is in a folder; links to folders are not followed.

    :raises CheckpointError: there are too many files, or a link leads nowhere.
    :raises OSError: a folder in it cannot be read.
    """
    walked = _Walked()
    count = 0
    for folder, folders, names in os.walk(path, followlinks=False, onerror=_refuse_to_go_on):
        for name in folders:
            if (place := Path(folder) / name).is_symlink():
                walked.left_out[place] = "a link to a folder"
        if not folders and not names:
            walked.empty.append(Path(folder))
        count += len(names)
        if count > limits.FILES:
            raise CheckpointError(
                f"{path} holds more than {limits.FILES} files", do="Name the checkpoint in it"
            )
        for name in names:
            _add(walked, path, Path(folder) / name)
    walked.files.sort()
    return walked


def _refuse_to_go_on(error: OSError) -> None:
    """Raise the error of a folder that cannot be read, which ``os.walk`` would pass over."""
    raise error


def _add(walked: _Walked, path: Path, file: Path) -> None:
    mode = file.lstat().st_mode
    is_link = stat.S_ISLNK(mode)
    if is_link:
        if not file.exists():
            raise incomplete(path, f"{file.relative_to(path)} is a link that leads nowhere")
        mode = file.stat().st_mode
    if stat.S_ISREG(mode):
        walked.files.append(file)
        if is_link:
            walked.linked.append(file)
    else:
        walked.left_out[file] = file_kinds.special(mode) or "no file"


def _format_of(file: Path) -> Format | None:
    return next((format_ for format_ in _FORMATS if format_.claims(file)), None)


def _label(files: Sequence[Path]) -> str:
    """Return what a folder is, by the first rule that fits."""
    ends = {file.suffix for file in files if not file.name.endswith(hugging_face.SUFFIXES)}
    labels = (
        ("Megatron-LM mp_rank folders", lambda f: completeness.RANK.fullmatch(f.parent.name)),
        ("DeepSpeed checkpoint", lambda f: completeness.DEEPSPEED.fullmatch(f.name)),
        ("Megatron-LM zarr checkpoint", lambda f: f.name == zarr_array.NAME),
        ("folder with sharded extra states", lambda f: states.is_state(f.parent.name)),
    )
    for label, fits in labels:
        if any(map(fits, files)):
            return label
    kind = "safetensors shards" if ends == {safetensors.SUFFIX} else "folder of torch.save files"
    indexed = any(file.name.endswith(hugging_face.SUFFIXES) for file in files)
    return f"{kind}, with an index as Hugging Face writes it" if indexed else kind
