"""Zip archives whose directory is checked for size before it is parsed."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed

_END = struct.Struct("<4s4H2LH")  # end of central directory
_LOCATOR = struct.Struct("<4sLQL")  # where the zip64 form of it is
_END64 = struct.Struct("<4sQ2H2L4Q")
_COMMENT = 1 << 16
_LOCAL = struct.Struct("<4s22x2H")  # an entry's own header: its name's and extra's length
_ENCRYPTED = 1
STORED = zipfile.ZIP_STORED
_TORN = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, struct.error, zlib.error)


class Zip:
    """A zip archive in an open file; entries are read in bounded pieces.

    :raises Malformed: it is no zip archive, is cut short, or its directory exceeds the limits.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        _check_directory(stream)
        try:
            self.archive = zipfile.ZipFile(stream)
        except _TORN as error:
            raise Malformed(f"not a whole zip archive: {error}") from error
        self.entries = {info.filename: info for info in self.archive.infolist()}
        if len(self.entries) != len(self.archive.filelist):
            raise Malformed("a zip archive with two entries of one name")

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of an entry.

        :param limit: the largest number of bytes to read.
        :raises Malformed: the entry is larger, or cannot be read.
        """
        size = self.entries[name].file_size
        if size > limit:
            raise Malformed(f"{name} has {size} bytes; no more than {limit} are read")
        return self._read(name, 0, size)

    def read_range(self, name: str, start: int, size: int, limit: int) -> bytes:
        """Return ``size`` bytes of an entry from ``start``, fewer if it ends before.

        :param limit: the largest number of bytes to decompress.
        :raises Malformed: more would be decompressed, or the entry cannot be read.
        """
        info = self.entries[name]
        if info.compress_type != STORED and start + size > limit:
            raise Malformed(f"{name} is compressed, and no more than {limit} bytes are unpacked")
        return self._read(name, start, max(0, min(size, info.file_size - start)))

    def chunks(self, name: str, size: int) -> Iterator[bytes]:
        """Yield the content of an entry, at most ``size`` bytes at a time.

        Checksums are ignored, because PyTorch can be configured to write none.

        :raises Malformed: the entry cannot be read, or is cut short.
        """
        info = self.entries[name]
        for start in range(0, info.file_size, size):
            yield self._read(name, start, min(size, info.file_size - start))

    def _read(self, name: str, start: int, size: int) -> bytes:
        info = self.entries[name]
        try:
            if info.compress_type == STORED and not info.flag_bits & _ENCRYPTED:
                self.stream.seek(self._data(info) + start)
                data = self.stream.read(size)
            else:
                with self.archive.open(info) as entry:
                    entry.seek(start)
                    data = entry.read(size)
        except (*_TORN, OSError) as error:
            raise Malformed(f"{name} cannot be read: {error}") from error
        if len(data) != size:
            raise Malformed(f"{name} is torn")
        return data

    def _data(self, info: zipfile.ZipInfo) -> int:
        """Return the position of an entry's data, from its local header."""
        self.stream.seek(info.header_offset)
        header = self.stream.read(_LOCAL.size)
        if len(header) != _LOCAL.size or header[:4] != b"PK\x03\x04":
            raise Malformed(f"{info.filename} is not where the directory says")
        _mark, name, extra = _LOCAL.unpack(header)
        return info.header_offset + _LOCAL.size + int(name) + int(extra)


def is_zip(head: bytes) -> bool:
    """Return whether a file is a zip archive, given its first bytes."""
    return head[:4] == b"PK\x03\x04"


def _check_directory(stream: BinaryIO) -> None:
    size, count = _directory(stream)
    if size > limits.DIRECTORY_BYTES or count > limits.DIRECTORY_ENTRIES:
        raise Malformed(f"a zip directory of {count} entries in {size} bytes is more than is read")


def _directory(stream: BinaryIO) -> tuple[int, int]:
    """Return size in bytes and number of entries of the central directory."""
    length = stream.seek(0, 2)
    start = max(0, length - _COMMENT - _END.size)
    stream.seek(start)
    tail = stream.read(_COMMENT + _END.size)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < _END.size:
        raise Malformed("not a whole zip archive: it has no directory, so it was cut short")
    _mark, _disk, _first, _here, count, size, _offset, _comment = _END.unpack_from(tail, place)
    before = place - _LOCATOR.size
    if before >= 0 and tail[before : before + 4] == b"PK\x06\x07":
        _mark, _disk, where, _disks = _LOCATOR.unpack_from(tail, before)
        stream.seek(min(where, length))
        end = stream.read(_END64.size)
        if len(end) == _END64.size and end[:4] == b"PK\x06\x06":
            (*_rest, _here, count, size, _offset) = _END64.unpack(end)
    return size, count
