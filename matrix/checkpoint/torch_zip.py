"""The zip format of ``torch.save``: the entry ``data.pkl``, and one entry for each storage."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from matrix.checkpoint import limits, pickles
from matrix.checkpoint.copying import CHUNK, Copied, NewContent
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.pickles import Pickle
from matrix.checkpoint.words import TorchKind
from matrix.checkpoint.zips import Zip

_PICKLE = "data.pkl"
_ALIGNMENT = 64  # in bytes, of storages in the file, as torch.load(mmap=True) needs it
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_ZIP64_FROM = 0x7FFF_0000


@dataclasses.dataclass(frozen=True)
class ZipStorages:
    """The storages in a zip archive."""

    archive: Zip
    prefix: str
    """The folder in the archive that contains all entries, with its slash."""
    kind = TorchKind.ZIP

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of the storages in the archive."""
        start = f"{self.prefix}data/"
        return (n.removeprefix(start) for n in self.archive.entries if n.startswith(start))

    def read(self, key: str, start: int, size: int, limit: int) -> bytes:
        """Return bytes of a storage, fewer if it ends before.

        :raises Malformed: there is no such entry, or it cannot be read.
        """
        name = f"{self.prefix}data/{key}"
        if name not in self.archive.entries:
            raise Malformed(f"storage {key} is not in the file")
        return self.archive.read_range(name, start, size, limit)

    def chunks(self, key: str) -> Iterator[bytes]:
        """Yield a storage's bytes.

        :raises Malformed: they cannot be read.
        """
        return self.archive.chunks(f"{self.prefix}data/{key}", CHUNK)

    def write(self, new: NewContent, out: BinaryIO, copied: Copied) -> None:
        """Write an archive with the same entries except for the pickle and storages.

        :raises Malformed: a storage cannot be read.
        """
        prefix = self.prefix
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for info in self.archive.archive.infolist():
                inner = info.filename.removeprefix(prefix)
                if inner == _PICKLE:
                    _add(archive, out, info.filename, [new.pickle], len(new.pickle))
                elif not inner.startswith("data/") or inner.removeprefix("data/") in new.kept:
                    chunks = self._copied(info.filename, copied)
                    _add(archive, out, info.filename, chunks, info.file_size)
            for key, data in new.added.items():
                _add(archive, out, f"{prefix}data/{key}", [data], len(data))

    def _copied(self, name: str, copied: Copied) -> Iterator[bytes]:
        for chunk in self.archive.chunks(name, CHUNK):
            copied(len(chunk))
            yield chunk


def read(stream: BinaryIO, budget: Budget) -> tuple[Pickle, bool, ZipStorages]:
    """Read a file's pickle.

    :returns: the pickle, whether storages are little-endian, and the storages.
    :raises Malformed: it is no file of ``torch.save``, is cut short, or exceeds the limits.
    """
    archive = Zip(stream)
    found = [name for name in archive.entries if name.rpartition("/")[2] == _PICKLE]
    found = [name for name in found if name.count("/") <= 1]
    if len(found) != 1:
        raise Malformed("a zip archive, but not one of torch.save: it has no data.pkl")
    prefix = found[0].removesuffix(_PICKLE)
    if f"{prefix}constants.pkl" in archive.entries:
        raise Malformed("a TorchScript archive, which is no checkpoint")
    pickle = pickles.read(archive.read(found[0], limits.PICKLE_BYTES), budget)
    order = f"{prefix}byteorder"
    little = order not in archive.entries or archive.read(order, 16) != b"big"
    return pickle, little, ZipStorages(archive, prefix)


def _add(
    archive: zipfile.ZipFile, out: BinaryIO, name: str, chunks: Iterable[bytes], size: int
) -> None:
    """Add an entry with aligned data."""
    info = zipfile.ZipInfo(name)
    large = size >= _ZIP64_FROM
    place = out.seek(0, 2) + _LOCAL_HEADER + len(name.encode()) + 4 + _ZIP64_EXTRA * large
    padding = -place % _ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    info.file_size = size
    with archive.open(info, "w", force_zip64=large) as entry:
        for chunk in chunks:
            entry.write(chunk)
