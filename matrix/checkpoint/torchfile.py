"""Files of ``torch.save``: the pickle is parsed at once, storages are read on demand."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Protocol

from matrix.checkpoint import limits, objects, pickles, torch_legacy, torch_zip, zips
from matrix.checkpoint.copying import NewContent, Output
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.machine import Pickle
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.spans import Span
from matrix.checkpoint.words import TorchKind

_SNIFFED = 4 << 20
"""The cost up to which bytes are read that only look like a pickle; weights may, by chance."""


class Storages(Protocol):
    """The storages of one file; an implementation can also write files of its kind."""

    @property
    def kind(self) -> TorchKind:
        """The kind of the file."""

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of the storages in the file."""

    def __contains__(self, key: object) -> bool:
        """Return whether the file has a storage."""

    def read(self, key: str, start: int, size: int, limit: int) -> bytes:
        """Return bytes of a storage, fewer if it ends before.

        :param limit: the number of bytes that may be decompressed to get there.
        :raises Malformed: the file has no such storage, or it cannot be read.
        """

    def span(self, key: str) -> Span:
        """Return where a storage lies.

        :raises Malformed: it lies in no file.
        """

    def write(self, new: NewContent, out: Output) -> Mapping[str, int]:
        """Write a file of the same kind with other content.

        :returns: the positions of the storages in what was written, by key.
        :raises CheckpointError: files of this kind cannot be written.
        :raises Malformed: a storage cannot be read.
        """


@dataclasses.dataclass
class TorchFile:
    """One file of ``torch.save``."""

    root: Node
    """The content of the pickle, inert."""
    protocol: int
    """The protocol of the pickle."""
    storages: Storages
    little: bool
    """Whether storages are little-endian."""
    budget: Budget
    """What may still be read of pickles inside the pickle."""

    def storage(self, tensor: TensorRef, limit: int) -> bytes:
        """Return the part of a storage that a tensor covers.

        :param limit: the largest number of bytes to read.
        :raises Refused: the tensor is larger, or does not lie there in one piece.
        :raises Malformed: its storage is not in the file.
        """
        size = tensor.count * tensor.itemsize
        if not tensor.contiguous:
            raise Refused("a tensor whose elements do not follow each other in its storage")
        if size > limit:
            raise Refused(f"a tensor of {size} bytes where metadata was expected")
        data = self.storages.read(tensor.key, tensor.offset * tensor.itemsize, size, limit)
        if len(data) != size:
            raise Malformed(f"storage {tensor.key} is shorter than its tensor")
        return data

    def span(self, tensor: TensorRef) -> Span:
        """Return where the elements of a tensor lie, which follow each other.

        :raises Malformed: its storage is not in the file, or is shorter.
        """
        if tensor.key not in self.storages:
            raise Malformed(f"storage {tensor.key} is not in the file")
        whole = self.storages.span(tensor.key)
        start, size = tensor.offset * tensor.itemsize, tensor.count * tensor.itemsize
        if start + size > whole.size:
            raise Malformed(f"storage {tensor.key} is shorter than its tensor")
        return Span(whole.stream, whole.start + start, size)

    def look_into(self, tensor: TensorRef) -> None:
        """Note what a tensor looks up if its bytes are a pickle, whatever its elements are.

        Transformer Engine unpickles the bytes of an extra state without asking for their type.

        :raises Refused: it cannot be read as Transformer Engine would.
        """
        if tensor.count:
            content = io.BytesIO(self.storage(tensor, limits.STATE_BYTES))
            with contextlib.suppress(Malformed), self.budget.part(_SNIFFED), self.budget.nested():
                torch_legacy.read(content, self.budget)


def read(stream: BinaryIO, budget: Budget | None = None) -> TorchFile:
    """Read a file of ``torch.save``.

    :param stream: a seekable stream, which must stay open as long as storages are read.
    :param budget: what may be read of its pickle and the pickles inside.
    :raises Malformed: it is no such file, is cut short, or exceeds the limits.
    """
    budget = budget or Budget()
    stream.seek(0)
    head = stream.read(4)
    storages: Storages
    if not head:
        raise Malformed("the file is empty")
    if zips.is_zip(head):
        pickle, little, storages = torch_zip.read(stream, budget)
    elif head[:1] == b"\x80" or head[:1] in b"(]}lc":
        pickle, little, storages = torch_legacy.read(stream, budget)
    else:
        raise Malformed("neither a zip archive nor a pickle")
    found = TorchFile(pickle.root, pickle.protocol, storages, little, budget)
    _read_inner(found, pickle)
    return found


def of_bytes(data: bytes, budget: Budget | None = None) -> TorchFile:
    """Read a file of ``torch.save`` from memory; see :func:`read`."""
    return read(io.BytesIO(data), budget)


def read_pickle(data: bytes, budget: Budget) -> Pickle:
    """Read a pickle that is no file of ``torch.save``, and the files inside it.

    :raises Malformed: it is none, something follows it, or it exceeds the limits.
    """
    pickle = pickles.read_whole(data, budget)
    _read_files(pickle, budget)
    return pickle


def _read_inner(file: TorchFile, pickle: Pickle) -> None:
    """Read the files inside a file, for what they look up.

    Of these ``torch.load`` reads only those that ``_load_from_bytes`` is given; so only they
    must be readable. Others are read by whoever gets the value, as extra states are.

    :raises Malformed: one that ``torch.load`` reads is none, or they are nested too deeply.
    """
    _read_files(pickle, file.budget)
    with file.budget.nested():
        for place in {_place(tensor) for tensor in map(objects.tensor, pickle.byte_tensors)}:
            if place is not None:
                _try_storage(file, *place)


def _read_files(pickle: Pickle, budget: Budget) -> None:
    with budget.nested():
        for call in pickle.files:
            content = objects.buffer_of(call)
            if content:
                _try(content, budget)
            elif objects.is_buffer(call) and content is None:
                raise Refused("an io.BytesIO whose content is not given as bytes, once")
            elif content is None:
                read(io.BytesIO(objects.only_bytes(call)), budget)


def _place(tensor: TensorRef | None) -> tuple[str, int, int] | None:
    """Return the storage, first byte and number of bytes of what may be a pickled state."""
    if tensor is None or not 2 <= tensor.count * tensor.itemsize <= limits.STATE_BYTES:
        return None
    return tensor.key, tensor.offset * tensor.itemsize, tensor.count * tensor.itemsize


def _try_storage(file: TorchFile, key: str, start: int, size: int) -> None:
    """Read a part of a storage if it begins as a pickle or a zip archive does."""
    with contextlib.suppress(Malformed), file.budget.part(_SNIFFED):
        head = file.storages.read(key, start, 2, 2)
        if head == b"PK" or (head[:1] == b"\x80" and head[1:] <= b"\x05"):
            content = io.BytesIO(file.storages.read(key, start, size, limits.STATE_BYTES))
            read(content, file.budget)


def _try(content: bytes, budget: Budget) -> None:
    """Read what may be a file or a pickle; if it is none, nothing but its beginning is noted."""
    try:
        read(io.BytesIO(content), budget)
    except Refused:
        raise
    except Malformed:
        return
