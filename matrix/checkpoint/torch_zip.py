"""The zip format of ``torch.save``: the entry ``data.pkl``, and one entry for each storage.

Entries are found as PyTorch finds them: in the folder of the first entry, in any case.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from matrix.checkpoint import limits, pickles
from matrix.checkpoint.copying import CHUNK, Copied, NewContent
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.machine import Pickle
from matrix.checkpoint.words import TorchKind
from matrix.checkpoint.zips import Zip

_PICKLE = "data.pkl"
_ALIGNMENT = 64  # in bytes, of storages in the file, as torch.load(mmap=True) needs it
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_ZIP64_FROM = 0x7FFF_0000
_VERSIONS = 10  # the newest that PyTorch reads (caffe2/serialize/versions.h)


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
        if size > limit:
            raise Refused(f"{size} bytes of storage {key} are more than is read")
        return self.archive.read_range(name, start, size)

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
            for entry in self.archive.entries.values():
                inner = entry.name.removeprefix(prefix)
                if inner == _PICKLE:
                    _add(archive, out, entry.name, [new.pickle], len(new.pickle))
                elif not inner.startswith("data/") or inner.removeprefix("data/") in new.kept:
                    chunks = self._copied(entry.name, copied)
                    _add(archive, out, entry.name, chunks, entry.size)
            for key, content in new.added.items():
                _add(archive, out, f"{prefix}data/{key}", content.chunks(), content.size)

    def _copied(self, name: str, copied: Copied) -> Iterator[bytes]:
        for chunk in self.archive.chunks(name, CHUNK):
            copied(len(chunk))
            yield chunk


def read(stream: BinaryIO, budget: Budget) -> tuple[Pickle, bool, ZipStorages]:
    """Read a file's pickle.

    :returns: the pickle, whether storages are little-endian, and the storages.
    :raises Malformed: it is no file of ``torch.save``, is cut short, or exceeds the limits.
    """
    archive = Zip(stream, budget)
    prefix = next(iter(archive.entries)).partition("/")[0] + "/"
    if _held(archive, f"{prefix}constants.pkl"):
        raise Refused("a TorchScript archive, which is no checkpoint")
    name = _held(archive, prefix + _PICKLE)
    if name is None:
        raise Malformed("a zip archive, but not one of torch.save: it has no data.pkl")
    _check_version(archive, prefix)
    little = _little(archive, prefix)
    pickle = pickles.read_whole(archive.read(name, limits.PICKLE_BYTES), budget)
    return pickle, little, ZipStorages(archive, prefix)


def _held(archive: Zip, name: str) -> str | None:
    """Return a name if the archive has such an entry.

    :raises Malformed: it has it in other case, which PyTorch takes for the same.
    """
    if name in archive.entries:
        return name
    for other in archive.entries:
        if len(other) == len(name) and other.lower() == name.lower():
            raise Refused(f"{other} in a zip archive, where torch.save writes {name}")
    return None


def _check_version(archive: Zip, prefix: str) -> None:
    """Check the version of the format, without which PyTorch does not read an archive."""
    name = _held(archive, f"{prefix}.data/version") or _held(archive, f"{prefix}version")
    version = archive.read(name, 16).strip() if name else b""
    if not version.isdigit() or not 1 <= int(version) <= _VERSIONS:
        raise Malformed(f"a zip archive of torch.save in version {version!r}, not 1 to {_VERSIONS}")


def _little(archive: Zip, prefix: str) -> bool:
    name = _held(archive, f"{prefix}byteorder")
    order = archive.read(name, 16) if name else b"little"
    if order not in (b"little", b"big"):
        raise Malformed(f"a byte order {order!r}, which is neither little nor big")
    return order == b"little"


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
