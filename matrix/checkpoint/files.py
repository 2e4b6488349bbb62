"""Which files of a checkpoint are rewritten, and by what: one file, or a folder of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from matrix.checkpoint import (
    digests,
    distributed_writing,
    folders,
    publish,
    safetensors,
    safetensors_writing,
    torchfile,
    writing,
)
from matrix.checkpoint.forms import Edit, Form
from matrix.checkpoint.limits import CheckpointError, Malformed
from matrix.checkpoint.publish import Unchanged
from matrix.system.progress import Progress

_MIB = 1 << 20
PASSES = 3
"""A tensor is read, and read again on either side to be compared."""


class Meter:
    """Turns bytes into a progress display's steps of a MiB.

    :param size: bytes that will be copied or compared.
    """

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress = progress
        self._left, self._bytes = size // _MIB, 0
        self.what = ""
        progress.start("MiB", self._left)

    def __call__(self, size: int) -> None:
        """Note bytes that were copied or compared."""
        self._bytes += size
        while self._bytes >= _MIB and self._left:
            self._bytes -= _MIB
            self._left -= 1
            self._progress.step(self.what)


def size(path: Path, edits: Sequence[Edit]) -> int:
    """Return how many bytes a rewritten file takes at most."""
    return path.stat().st_size + sum(len(edit.payload or b"") + 1024 for edit in edits)


def folder_size(path: Path, edits: Sequence[Edit], unchanged: Unchanged) -> int:
    """Return how many bytes a rewritten folder takes at most."""
    indexes = {index.parent for index in folders.layout(path).indexes}
    touched = {path / edit.state.file for edit in edits if edit.changes}
    total = sum(len(edit.payload or b"") + 4096 for edit in edits)
    for file in folders.walk(path):
        rewritten = file in touched and file.parent not in indexes
        if unchanged == "copy" or rewritten or file.name == ".metadata":
            total += file.stat().st_size
    return total


def write_file(path: Path, out: BinaryIO, edits: Sequence[Edit], name: str, meter: Meter) -> None:
    """Write one file anew and see that its tensors are the same bytes.

    :param name: the file's name in ``edits``.
    :raises CheckpointError: it cannot be read, or not be written faithfully.
    """
    meter.what = path.name
    own = writing.by_place(edits, name)
    with path.open("rb") as stream:
        try:
            if path.suffix == ".safetensors":
                _write_safetensors(path, stream, own, out, meter)
            elif folders.is_shard(path):
                _write_shard(torchfile.read(stream), edits, name, out)
            else:
                _write_torch(path, stream, own, out, meter)
        except Malformed as error:
            raise CheckpointError(
                f"{path} cannot be copied: {error}",
                why="it is damaged, or was changed meanwhile",
                do="Restore it; nothing was written",
            ) from error


def _write_safetensors(
    path: Path, stream: BinaryIO, edits: writing.Edits, out: BinaryIO, meter: Meter
) -> None:
    safetensors_writing.write(stream, edits, out, meter)
    before = digests.of_tensors(safetensors.read(stream), stream, meter)
    out.flush()
    after = digests.of_tensors(safetensors.read(out), out, meter)
    touched = {key for (_inside, key), edit in edits.items() if edit.changes}
    digests.compare(before, after, touched, str(path))


def _write_torch(
    path: Path, stream: BinaryIO, edits: writing.Edits, out: BinaryIO, meter: Meter
) -> None:
    source = torchfile.read(stream)
    writing.write(source, edits, out, meter)
    out.flush()
    before = digests.of_storages(source, meter)
    after = digests.of_storages(torchfile.read(out), meter)
    digests.compare(before, after, before.keys() - writing.keys(source.root), str(path))


def _write_shard(
    source: torchfile.TorchFile, edits: Sequence[Edit], name: str, out: BinaryIO
) -> None:
    """Write a file that holds one extra state and nothing else."""
    edit = next(edit for edit in edits if edit.state.file == name)
    assert edit.payload is not None
    writing.byte_tensor_file(edit.payload, source, out)


def write_folder(
    path: Path,
    new: Path,
    edits: Sequence[Edit],
    form: Form,
    unchanged: Unchanged,
    progress: Progress,
) -> None:
    """Write a folder: the files that change anew, the others copied, linked or reflinked.

    :raises CheckpointError: one cannot be written faithfully.
    """
    folders.refuse_links(path)
    indexes = set(folders.layout(path).indexes)
    by_file: dict[str, list[Edit]] = defaultdict(list)
    for edit in edits:
        by_file[edit.state.file].append(edit)
    meter = Meter(progress, PASSES * folder_size(path, edits, unchanged))
    for file in folders.walk(path):
        name = file.relative_to(path).as_posix()
        meter.what = name
        changed = [edit for edit in by_file.get(name, ()) if edit.changes]
        if file in indexes:
            own = [edit for edit in edits if (path / edit.state.file).parent == file.parent]
            distributed_writing.write(file, (new / name).parent, own, form)
        elif not changed or file.parent / ".metadata" in indexes:
            publish.place(file, new / name, unchanged, meter)
        elif folders.is_shard(file):
            _shard(file, new, changed[0], unchanged, meter)
        else:
            _anew(file, new / name, by_file[name], name, meter)


def _anew(file: Path, place: Path, edits: Sequence[Edit], name: str, meter: Meter) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("w+b") as out:
        write_file(file, out, edits, name, meter)
        out.flush()
        os.fsync(out.fileno())


def _shard(file: Path, new: Path, edit: Edit, unchanged: Unchanged, meter: Meter) -> None:
    """Write or place a file that holds one extra state, where its new key wants it."""
    if edit.new_key is None:
        return
    place = new / new_name(edit)
    if edit.payload is None:
        publish.place(file, place, unchanged, meter)
    else:
        _anew(file, place, [edit], edit.state.file, meter)


def new_name(edit: Edit) -> str:
    """Return the file that a state lies in afterwards, relative to the checkpoint."""
    old = PurePosixPath(edit.state.file)
    if edit.new_key is not None and folders.is_shard(Path(old)):
        key, _, shard = edit.new_key.rpartition("/")
        return (old.parent.parent / key / f"{shard}.pt").as_posix()
    if old.suffix == ".distcp" and edit.payload is not None:
        return (old.parent / distributed_writing.FILE).as_posix()
    return edit.state.file
