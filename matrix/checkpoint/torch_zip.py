"""The zip format of ``torch.save``: the entry ``data.pkl``, and one entry for each storage.

Entries are found as PyTorch finds them: in the folder of the first entry, in any case.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from matrix.checkpoint import limits, pickles, zip_writing
from matrix.checkpoint.copying import Content, NewContent, Output
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.machine import Pickle
from matrix.checkpoint.spans import Span
from matrix.checkpoint.words import TorchKind
from matrix.checkpoint.zip_writing import NewEntry
from matrix.checkpoint.zips import Zip

_PICKLE = "data.pkl"
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

    def __contains__(self, key: object) -> bool:
        """Return whether the archive has a storage."""
        return f"{self.prefix}data/{key}" in self.archive.entries

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

    def span(self, key: str) -> Span:
        """Return where a storage lies."""
        return self.archive.span(f"{self.prefix}data/{key}")

    def write(self, new: NewContent, out: Output) -> Mapping[str, int]:
        """Write an archive with the same entries except for the pickle and storages.

        :returns: the positions of the storages in what was written, by key.
        :raises Malformed: a storage cannot be read.
        """
        start = f"{self.prefix}data/"
        added = [NewEntry.of(start + key, content) for key, content in new.added.items()]
        places = zip_writing.write([*self._entries(new), *added], out)
        storages = (name for name in places if name.startswith(start))
        return {name.removeprefix(start): places[name] for name in storages}

    def _entries(self, new: NewContent) -> Iterator[NewEntry]:
        for entry in self.archive.entries.values():
            inner = entry.name.removeprefix(self.prefix)
            if inner == _PICKLE:
                yield NewEntry.of(entry.name, Content.of(new.pickle))
            elif not inner.startswith("data/") or inner.removeprefix("data/") in new.kept:
                yield NewEntry.copied(entry.name, self.archive.span(entry.name), entry.crc)


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
