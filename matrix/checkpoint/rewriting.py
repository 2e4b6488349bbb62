"""Rewriting of checkpoints: changed files are written anew, the others copied or linked."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from matrix.catalogue.forms import Form
from matrix.checkpoint import edits as planning
from matrix.checkpoint import layout as layouts
from matrix.checkpoint import publish, torch_writing, torchfile
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError, refusing_malformed
from matrix.checkpoint.formats.base import Destination
from matrix.checkpoint.layout import Layout
from matrix.checkpoint.publish import Unchanged
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds, Step
from matrix.system.progress import Progress

_MIB = 1 << 20
_PASSES = 3  # every tensor is copied, then read twice to be compared
_GROWTH = 4096  # the most bytes that a rewritten state takes in addition to its payload


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """A checkpoint, and what to change in it."""

    layout: Layout
    edits: Sequence[Edit]
    """One for each extra state of the checkpoint."""
    form: Form
    """The form that the extra states are rewritten into."""
    unchanged: Unchanged
    """What to do with files of a folder that do not change."""

    @property
    def size(self) -> int:
        """The number of bytes that the result takes at most."""
        own = self.edits_by_part()
        files = [part.file for part in self.layout.parts if part.format.rewrites(own[part.name])]
        if self.unchanged == "copy":
            files = [*(part.file for part in self.layout.parts), *self.layout.others]
        payloads = sum(len(edit.payload or b"") + _GROWTH for edit in self.edits)
        return payloads + sum(file.stat().st_size for file in files)

    def edits_by_part(self) -> dict[str, list[Edit]]:
        """Return the edits of each part of the layout, by its name."""
        found: dict[str, list[Edit]] = defaultdict(list)
        for edit in self.edits:
            found[edit.state.part].append(edit)
        return found


@contextlib.contextmanager
def publishing(rewrite: Rewrite, out: Path, progress: Progress) -> Iterator[Path]:
    """Write the result, and yield a path by which it can be read and checked.

    On success it gets the name ``out``; after an error nothing is left of it.

    :raises CheckpointError: ``out`` cannot be written, or a file cannot be reproduced.
    """
    size = rewrite.size
    publish.check(rewrite.layout.path, out, size)
    meter = _Meter(progress, _PASSES * size)
    if rewrite.layout.is_folder:
        with publish.new_folder(out) as folder:
            _refuse_linked_folders(rewrite.layout)
            _write(rewrite, _folder_destination(folder, rewrite.unchanged, meter), meter)
            yield folder
    else:
        with publish.new_file(out) as (stream, readable):
            _write(rewrite, _file_destination(stream, meter), meter)
            stream.flush()
            yield readable


def _refuse_linked_folders(layout: Layout) -> None:
    for place in layout.linked_folders:
        raise CheckpointError(
            f"{place} is a link to a folder",
            why="what is behind it would be missing in the result",
            do="Replace it by the folder, or remove it",
        )


def _write(rewrite: Rewrite, destination: Destination, meter: _Meter) -> None:
    own = rewrite.edits_by_part()
    for part in rewrite.layout.parts:
        meter.file = part.name
        with refusing_malformed(
            f"{part.file} cannot be copied",
            why="it is damaged, or was changed meanwhile",
            do="Restore it; nothing was written",
        ):
            if part.format.rewrites(own[part.name]):
                part.format.write(part, own[part.name], rewrite.form, destination)
            else:
                destination.place(part.file, part.name)
    for file in rewrite.layout.others:
        meter.file = file.relative_to(rewrite.layout.path).as_posix()
        destination.place(file, meter.file)


class _Meter:
    """Reports bytes to a progress display, in steps of a MiB.

    :param size: the number of bytes that will be copied or compared.
    """

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress = progress
        self._left, self._bytes = size // _MIB, 0
        self.file = ""
        progress.start("MiB", self._left)

    def copied(self, size: int) -> None:
        """Add bytes that were copied or compared."""
        self._bytes += size
        while self._bytes >= _MIB and self._left:
            self._bytes -= _MIB
            self._left -= 1
            self._progress.step(self.file)


def _file_destination(stream: BinaryIO, meter: _Meter) -> Destination:
    def place(_file: Path, name: str) -> None:
        raise AssertionError(f"{name} has no changes, so there was nothing to write")

    return Destination(lambda _name: contextlib.nullcontext(stream), place, meter.copied)


def _folder_destination(folder: Path, unchanged: Unchanged, meter: _Meter) -> Destination:
    @contextlib.contextmanager
    def open_(name: str) -> Iterator[BinaryIO]:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())

    def place(file: Path, name: str) -> None:
        publish.place(file, folder / name, unchanged, meter.copied)

    return Destination(open_, place, meter.copied)


def check(rewrite: Rewrite, before: Contents, after: Contents) -> None:
    """Check that the result has the expected keys, and the same metadata where it was kept.

    :param before: contents of the checkpoint.
    :param after: contents of the result.
    :raises CheckpointError: it has not.
    """
    states = {(state.file, state.inside, state.key): state for state in after.states}
    kept = [edit for edit in rewrite.edits if edit.new_key is not None]
    dropped = len(rewrite.edits) - len(kept)
    if len(after.states) != len(kept) or after.keys != before.keys - dropped:
        raise CheckpointError("what was written has other keys than it should", do="Report it")
    for edit in kept:
        place = rewrite.layout.new_name(edit), edit.state.inside, str(edit.new_key)
        if place not in states or not _carries(states[place], edit):
            raise CheckpointError(
                f"what was written under {edit.new_key} is not what was there", do="Report it"
            )


def _carries(state: ExtraState, edit: Edit) -> bool:
    """Return whether a written state holds the metadata that the edit keeps."""
    if Step.DROP_STATE in edit.steps:
        return state.holds is Holds.NOTHING
    before = {k: v.numbers for k, v in edit.state.tensors.items() if not k.startswith("scale_inv")}
    after = {k: v.numbers for k, v in state.tensors.items() if not k.startswith("scale_inv")}
    return before == after and not state.problem


def rewrite_file(path: Path, new: Path, form: Form) -> None:
    """Rewrite a ``torch.save`` file into a form, without comparing the tensors afterwards.

    :raises CheckpointError: it cannot be rewritten.
    """
    edits = planning.plan(layouts.find(path).read().states, form)
    write_file(path, new, edits)


def write_file(path: Path, new: Path, edits: Sequence[Edit]) -> None:
    """Write a ``torch.save`` file with edits applied, without comparing the tensors afterwards.

    :raises CheckpointError: it cannot be written.
    """
    with (
        refusing_malformed(f"{path} cannot be copied", why="it is damaged", do="Restore it"),
        path.open("rb") as stream,
        new.open("wb") as out,
    ):
        source = torchfile.read(stream)
        torch_writing.write(source, planning.by_place(edits), out, lambda _size: None)
