"""Files of ``torch.save``, zip and legacy: their pickle as inert values, storages on demand."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from matrix.checkpoint import torch_legacy, torch_zip, zips
from matrix.checkpoint.copying import Copied, NewContent
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.words import TorchKind


class Storages(Protocol):
    """The storages of one file, and how a file of its kind is written."""

    @property
    def kind(self) -> TorchKind:
        """What kind of file it is."""

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of the storages that the file has."""

    def read(self, key: str, start: int, size: int, limit: int) -> bytes:
        """Return bytes of a storage; fewer where it ends before.

        :param limit: how many bytes may be unpacked to get there.
        :raises Malformed: the file has no such storage, or it cannot be read.
        """

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield a storage's bytes.

        :raises Malformed: they cannot be read.
        """

    def write(self, new: NewContent, out: BinaryIO, copied: Copied) -> None:
        """Write a file of the same kind with other content.

        :raises CheckpointError: such files are not written.
        :raises Malformed: a storage cannot be read.
        """


@dataclasses.dataclass
class TorchFile:
    """One file of ``torch.save``.

    :param root: what the file holds, inert.
    :param protocol: the pickle's protocol.
    :param little: whether storages are little-endian.
    :param budget: what may still be read of pickles inside the file's pickle.
    """

    root: Node
    protocol: int
    storages: Storages
    little: bool
    budget: Budget

    def storage(self, tensor: TensorRef, limit: int) -> bytes:
        """Return the bytes of a tensor's storage that the tensor covers.

        :param limit: how many there may be.
        :raises Malformed: there are more, or the storage is not in the file.
        """
        size = tensor.count * tensor.itemsize
        if size > limit:
            raise Malformed(f"a tensor of {size} bytes where metadata was expected")
        data = self.storages.read(tensor.key, tensor.offset * tensor.itemsize, size, limit)
        if len(data) != size:
            raise Malformed(f"storage {tensor.key} is shorter than its tensor")
        return data


def read(stream: BinaryIO, budget: Budget | None = None) -> TorchFile:
    """Read a file of ``torch.save``.

    :param stream: seekable; it stays in use.
    :param budget: the opcodes that it may have, with all pickles inside its pickle.
    :raises Malformed: it is none, is torn, or is beyond the limits.
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
    return TorchFile(pickle.root, pickle.protocol, storages, little, budget)


def of_bytes(data: bytes, budget: Budget | None = None) -> TorchFile:
    """Read a file of ``torch.save`` that lies in memory."""
    return read(io.BytesIO(data), budget)
