"""Rewriting of checkpoints: changed files are written anew, the others copied or linked."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from matrix.catalogue.forms import Form
from matrix.checkpoint import copying, norms, operations, publish, torch_writing, torchfile
from matrix.checkpoint import edits as planning
from matrix.checkpoint import layout as layouts
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError, refusing_malformed
from matrix.checkpoint.formats.base import Destination, Part
from matrix.checkpoint.layout import Layout
from matrix.checkpoint.publish import Unchanged
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.quantized.numbers import ITEMSIZE
from matrix.checkpoint.quantized.summary import Held
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds, Step
from matrix.system.progress import Progress

_MIB = 1 << 20


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
    weights: WeightChange | None = None
    """What becomes of quantized weights; None: they stay as they are."""
    quantized: Mapping[str, Held] = dataclasses.field(default_factory=dict)
    """The quantized weights of each file that holds any."""

    def rewrites(self, part: Part, edits: Sequence[Edit]) -> bool:
        """Return whether a file has to be written, rather than copied or linked."""
        changed = self.weights is not None and part.name in self.quantized
        return changed or part.format.rewrites(edits)

    def size(self) -> int:
        """Return the number of bytes that the result takes, a little more at most.

        :raises CheckpointError: a file can no longer be read.
        """
        total = 0
        for part, edits in self.edits_by_part():
            with _copying(part):
                if self.rewrites(part, edits):
                    total += part.format.size(part, edits) + self._growth(part)
                elif self.unchanged == "copy":
                    total += part.file.stat().st_size
        if self.unchanged == "copy":
            total += sum(file.stat().st_size for file in self.layout.others)
        return total

    def _growth(self, part: Part) -> int:
        """Return the bytes that a file grows by in changing its quantized weights."""
        held = self.quantized.get(part.name)
        if held is None or self.weights is None or self.weights.into is not None:
            return 0
        return held.elements * ITEMSIZE[self.weights.dtype] - held.size

    def edits_by_part(self) -> list[tuple[Part, Sequence[Edit]]]:
        """Return each part of the layout with the edits that concern it."""
        found: dict[str, list[Edit]] = defaultdict(list)
        for edit in self.edits:
            found[edit.state.part].append(edit)
        return [(part, part.format.edits(part, found)) for part in self.layout.parts]


@contextlib.contextmanager
def publishing(rewrite: Rewrite, out: Path, progress: Progress) -> Iterator[Path]:
    """Write the result, and yield a path by which it can be read and checked.

    On success it gets the name ``out``; after an error nothing is left of it.

    :raises CheckpointError: ``out`` cannot be written, or a file cannot be reproduced.
    """
    publish.check(rewrite.layout.path, out)
    _refuse_left_out(rewrite.layout)
    size = rewrite.size()
    publish.check_space(out, size)
    meter = _Meter(progress, size)
    if rewrite.layout.is_folder:
        with publish.new_folder(out) as folder:
            for empty in rewrite.layout.empty:
                (folder / empty.relative_to(rewrite.layout.path)).mkdir(parents=True)
            _write(rewrite, _folder_destination(folder, rewrite.unchanged, meter), meter)
            yield folder
    else:
        with publish.new_file(out) as (stream, readable):
            _write(rewrite, _file_destination(stream, meter), meter)
            stream.flush()
            yield readable


def _refuse_left_out(layout: Layout) -> None:
    for place, what in layout.left_out.items():
        raise CheckpointError(
            f"{place} is {what}",
            why="it is not copied, and would be missing in the result",
            do="Replace it by what it stands for, or remove it",
        )


def _copying(part: Part) -> AbstractContextManager[None]:
    return refusing_malformed(
        f"{part.file} cannot be copied",
        why="it is damaged, or was changed meanwhile",
        do="Restore it; nothing was written",
    )


def _write(rewrite: Rewrite, destination: Destination, meter: _Meter) -> None:
    for part, edits in rewrite.edits_by_part():
        meter.file = part.name
        with _copying(part), copying.unchanged(part.file):
            if rewrite.rewrites(part, edits):
                weights = rewrite.weights if part.name in rewrite.quantized else None
                part.format.write(part, edits, rewrite.form, destination, weights)
            else:
                destination.place(part.file, part.name)
    for file in rewrite.layout.others:
        meter.file = file.relative_to(rewrite.layout.path).as_posix()
        with copying.unchanged(file):
            destination.place(file, meter.file)
    meter.finish()


class _Meter:
    """Reports bytes to a progress display, in steps of a MiB.

    :param size: the number of bytes that will be written.
    """

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress = progress
        self._left, self._bytes = size // _MIB, 0
        self.file = ""
        progress.start("MiB", self._left)

    def copied(self, size: int) -> None:
        """Add bytes that were written."""
        self._bytes += size
        while self._bytes >= _MIB and self._left:
            self._bytes -= _MIB
            self._left -= 1
            self._progress.step(self.file)

    def finish(self) -> None:
        """Add what was estimated and not needed."""
        self.copied(self._left * _MIB)


def _file_destination(stream: BinaryIO, meter: _Meter) -> Destination:
    def place(_file: Path, name: str) -> None:
        raise AssertionError(f"{name} has no changes, so there was nothing to write")

    return Destination(lambda _name: contextlib.nullcontext(stream), place, meter.copied)


def _folder_destination(folder: Path, unchanged: Unchanged, meter: _Meter) -> Destination:
    written: set[str] = set()

    @contextlib.contextmanager
    def open_(name: str) -> Iterator[BinaryIO]:
        written.add(name)
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())

    def place(file: Path, name: str) -> None:
        if name not in written:
            publish.place(file, folder / name, unchanged, meter.copied)

    return Destination(open_, place, meter.copied)


def check(rewrite: Rewrite, before: Contents, after: Contents) -> dict[int, ExtraState]:
    """Check that the result has the expected keys, and the same metadata where it was kept.

    :param before: contents of the checkpoint.
    :param after: contents of the result.
    :returns: the states of the result, each by the ``id`` of its edit.
    :raises CheckpointError: it has not.
    """
    written = {}
    states = {(state.file, state.inside, state.key): state for state in after.states}
    kept = [edit for edit in rewrite.edits if edit.new_key is not None]
    dropped = len(rewrite.edits) - len(kept)
    added = sum(Step.ADD_KEY in edit.steps for edit in kept)
    if (
        len(after.states) != len(kept)
        or after.keys != before.keys - dropped + added
        or len(after.foreign) != len(before.foreign)
    ):
        raise CheckpointError("what was written has other keys than it should", do="Report it")
    if rewrite.weights is not None and not after.quantized.are(rewrite.weights):
        raise CheckpointError("what was written has other weights than it should", do="Report it")
    for edit in kept:
        place = rewrite.layout.new_name(edit), edit.state.inside, str(edit.new_key)
        if place not in states or not carries(states[place], edit):
            raise CheckpointError(
                f"what was written under {edit.new_key} is not what was there", do="Report it"
            )
        written[id(edit)] = states[place]
    return written


def carries(state: ExtraState, edit: Edit) -> bool:
    """Return whether a written state holds the metadata that the edit keeps."""
    if Step.DROP_STATE in edit.steps:
        return state.holds is Holds.NOTHING
    return not state.problem and _bits(state) == _bits(edit.state)


def _bits(state: ExtraState) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return the metadata of a state as bytes: an overflow leaves NaN, which equals nothing.

    ``scale_inv`` follows from ``scale``, and is not part of every form. The modes of operations
    are those of newer releases.
    """
    tensors = operations.merged(state) if state.operation else state.tensors
    return {
        name: (values.dtype, values.shape, values.data)
        for name, values in tensors.items()
        if not name.startswith("scale_inv")
    }


def rewrite_file(
    path: Path,
    new: Path,
    form: Form,
    weights: WeightChange | None = None,
    drop: Collection[str] = (),
) -> None:
    """Rewrite a ``torch.save`` file into a form, without comparing the tensors afterwards.

    Its norms are taken for Transformer Engine's. States that cannot be rewritten are left as they
    are.

    :param weights: what becomes of its quantized weights; None: they stay as they are.
    :param drop: names of the states to remove, see :mod:`dropping`; a file need not have any.
    :raises CheckpointError: it cannot be rewritten.
    """
    edits = _all_that_can_be(layouts.find(path), form, drop)
    write_file(path, new, edits, weights)


def rewrite_folder(path: Path, new: Path, form: Form, drop: Collection[str] = ()) -> None:
    """Rewrite a checkpoint that is a folder in the same way. Quantized weights stay as they are.

    :param new: the folder to make; it must not exist.
    :raises CheckpointError: it cannot be rewritten.
    """
    layout = layouts.find(path)
    rewrite = Rewrite(layout, _all_that_can_be(layout, form, drop), form, "copy")
    with publishing(rewrite, new, Progress()):
        pass


def _all_that_can_be(layout: Layout, form: Form, drop: Collection[str]) -> Sequence[Edit]:
    contents = layout.read()
    bare = norms.without_state(contents) if form.operations else ()
    return planning.plan(contents, form, drop=drop, norms=list(bare), lenient=True)


def write_file(
    path: Path, new: Path, edits: Sequence[Edit], weights: WeightChange | None = None
) -> None:
    """Write a ``torch.save`` file with edits applied, without comparing the tensors afterwards.

    :raises CheckpointError: it cannot be written.
    """
    with (
        refusing_malformed(f"{path} cannot be copied", why="it is damaged", do="Restore it"),
        path.open("rb") as stream,
        new.open("w+b") as out,
    ):
        source = torchfile.read(stream)
        torch_writing.write(source, planning.by_place(edits), out, lambda _size: None, weights)
