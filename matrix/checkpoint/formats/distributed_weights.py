"""Data files of a distributed checkpoint, written anew with other quantized weights.

A file that holds none is not written, and stays what it is. In one that is written, items follow
each other in their order, and what belonged to no item is left out.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import BinaryIO

from matrix.checkpoint import copying, objects, torch_writing, torchfile
from matrix.checkpoint.copying import Output
from matrix.checkpoint.formats.base import Destination, Part
from matrix.checkpoint.formats.distributed_index import DistributedIndex, StoredItem, set_attributes
from matrix.checkpoint.nodes import Call, Global
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.quantized.weights import is_looked_up
from matrix.checkpoint.spans import FileRange, Span
from matrix.checkpoint.torchfile import TorchFile


def write(
    index: DistributedIndex,
    part: Part,
    change: WeightChange,
    to: Destination,
    moved: Collection[str] = (),
) -> None:
    """Write every data file that holds quantized weights, and update the index.

    :param moved: keys of the items that are in another file from now on.
    :raises CheckpointError: a weight cannot be changed, or a file is changed meanwhile.
    :raises Malformed: an item cannot be read.
    """
    by_file: dict[str, list[StoredItem]] = defaultdict(list)
    for item in index.items:
        if item.key not in moved:
            by_file[item.file].append(item)
    changed: set[str] = set()
    for name, items in by_file.items():
        file = part.file.parent / name
        with copying.unchanged(file), file.open("rb") as stream:
            quantized = {item.key for item in items if _is_quantized(_read(stream, item))}
            if quantized:
                place = (PurePosixPath(part.name).parent / name).as_posix()
                with to.open(place) as out:
                    _write_file(stream, items, quantized, change, to, out)
        changed |= quantized
    if change.into is None:
        _set_dtype(index, changed, change.dtype)


def _read(stream: BinaryIO, item: StoredItem) -> TorchFile:
    return torchfile.read(FileRange(stream, item.offset, item.length))


def _is_quantized(source: TorchFile) -> bool:
    return is_looked_up(source.budget.lookups.te)


def _write_file(
    stream: BinaryIO,
    items: Collection[StoredItem],
    quantized: Collection[str],
    change: WeightChange,
    to: Destination,
    out: BinaryIO,
) -> None:
    """Write the items of a file, each once where several keys share it."""
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for item in sorted(items, key=lambda item: item.offset):
        own = item.offset, item.length
        if own not in places:
            start = out.seek(0, io.SEEK_END)
            if item.key in quantized:
                torch_writing.write(_read(stream, item), {}, out, to.copied, change)
            else:
                output = Output(out, to.copied)
                output.copy(copying.pieces(Span(stream, *own)))
                output.read_back()
            places[own] = start, out.seek(0, io.SEEK_END) - start
        offset, length = places[own]
        set_attributes(item.info, offset=offset, length=length)


def _set_dtype(index: DistributedIndex, keys: Collection[str], dtype: str) -> None:
    """State the element type of tensors in the index, where that has it."""
    kinds = objects.fields(objects.attributes(index.root)["state_dict_metadata"]) or {}
    for key in keys & kinds.keys():
        properties = objects.attributes(kinds[key]).get("properties")
        match properties:
            case Call(state=[(Global(), *others)]):
                properties.state[:] = [(Global("torch", dtype), *others)]
