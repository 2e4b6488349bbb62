"""Zip archives as ``torch.save`` writes them, of which there is one reading only.

Readers of zip archives differ: in where they look for the directory, in which of two entries of
one name they take, and in whether they believe an entry's own header or the directory. PyTorch
ignores case, takes the directory that the end record names, and the folder of the first entry.
So an archive is refused unless every reader finds the same: entries that follow each other
without gap or overlap, then one directory that agrees with their headers, then the end record.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Malformed, Refused, cut_short
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.spans import Span
from matrix.system.counting import counted

_END = struct.Struct("<4s4H2LH")  # end of central directory
_LOCATOR = struct.Struct("<4sLQL")  # where the zip64 form of it is
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")  # an entry of the directory
_LOCAL = struct.Struct("<4s5H3L2H")  # an entry's own header
_QUAD = struct.Struct("<Q")
_LONG = 0xFFFF_FFFF  # instead of a number that is in the zip64 field
_SHORT = 0xFFFF
_ENCRYPTED, _DESCRIPTOR, _PATCH, _STRONG, _MASKED = 1, 8, 32, 64, 1 << 13
_FOLDER = 0x10  # among the attributes of an entry
_REFUSED = _ENCRYPTED | _PATCH | _STRONG | _MASKED
_DESCRIPTORS = {12: "<LLL", 16: "<4xLLL", 20: "<LQQ", 24: "<4xLQQ"}
"""What may follow an entry's data, by its size: checksum and sizes, perhaps behind a mark."""
_ZIP64, _UNICODE_PATH = 1, 0x7075
_METHODS = {8: "deflate", 9: "deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz"}
_ENTRY_COST = 300


class _Directory(NamedTuple):
    """What the end of an archive says of its directory."""

    entries: int
    size: int
    start: int


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An entry of an archive, stored as it is."""

    name: str
    start: int
    """Position of its data in the archive."""
    size: int
    crc: int
    """CRC-32 of its data as the archive states it; PyTorch can be configured to write none."""


class Zip:
    """A zip archive in an open file, as ``torch.save`` writes it.

    :raises Malformed: it is none, or is cut short.
    :raises Refused: it exceeds the limits, or has more than one reading.
    """

    def __init__(self, stream: BinaryIO, budget: Budget | None = None) -> None:
        self.stream = stream
        budget = budget or Budget()
        length = stream.seek(0, 2)
        directory = _find_directory(stream, length)
        if directory.size > limits.DIRECTORY_BYTES or directory.entries > limits.DIRECTORY_ENTRIES:
            raise Refused(
                f"a zip directory of {directory.size} bytes, with "
                f"{counted(directory.entries, 'entry')}, is more than is read"
            )
        budget.spend(directory.size + _ENTRY_COST * directory.entries)
        self.entries = {entry.name: entry for entry in _entries(stream, directory)}
        """By name, in the order of the directory."""

    def read(self, name: str, limit: int) -> bytes:
        """Return the content of an entry.

        :param limit: the largest number of bytes to read.
        :raises Malformed: the entry is larger, or cannot be read.
        """
        size = self.entries[name].size
        if size > limit:
            raise Refused(f"{name} has {size} bytes; no more than {limit} are read")
        return self._read(name, 0, size)

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Return ``size`` bytes of an entry from ``start``, fewer if it ends before.

        :raises Malformed: the entry cannot be read.
        """
        return self._read(name, start, max(0, min(size, self.entries[name].size - start)))

    def span(self, name: str) -> Span:
        """Return where the content of an entry lies."""
        entry = self.entries[name]
        return Span(self.stream, entry.start, entry.size)

    def _read(self, name: str, start: int, size: int) -> bytes:
        self.stream.seek(self.entries[name].start + start)
        data = self.stream.read(size)
        if len(data) != size:
            raise Malformed(f"{name} is torn")
        return data


def is_zip(head: bytes) -> bool:
    """Return whether a file is a zip archive, given its first bytes."""
    return head[:4] == b"PK\x03\x04"


def _find_directory(stream: BinaryIO, length: int) -> _Directory:
    """Return what the end record says, which must be the last bytes of the file."""
    stream.seek(max(0, length - _END.size - _SHORT))
    tail = stream.read(_END.size + _SHORT)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0:
        raise cut_short(Malformed("not a whole zip archive: it has no directory"))
    if place != len(tail) - _END.size:
        if not _ends_directory(stream, length - len(tail) + place):
            # What was found is that of an archive inside, such as an extra state of 1.x.
            raise cut_short(Refused("not a whole zip archive: its directory is not at its end"))
        raise Refused(
            "a zip archive with a comment or other bytes behind its directory, which torch.save "
            "does not write: readers may disagree where the directory is"
        )
    _mark, disk, first, here, count, size, start, comment = _END.unpack_from(tail, place)
    if comment or disk or first or here != count:
        raise Refused("a zip archive in several parts, or with a comment")
    found, end = _Directory(count, size, start), length - _END.size
    if tail[:place][-_LOCATOR.size :][:4] == b"PK\x06\x07":
        found, end = _find_zip64(stream, end - _LOCATOR.size, found)
    if found.start + found.size != end:
        raise Refused("a zip directory that does not lie where the end of the archive says")
    return found


def _ends_directory(stream: BinaryIO, place: int) -> bool:
    """Return whether a whole end record follows the directory that it is of."""
    stream.seek(place)
    record = stream.read(_END.size)
    if len(record) < _END.size:
        return False
    _mark, _disk, _first, _here, _count, size, start, _comment = _END.unpack(record)
    stream.seek(start)
    return start + size <= place and stream.read(4) in (b"PK\x01\x02", record[:4])


def _find_zip64(stream: BinaryIO, locator: int, short: _Directory) -> tuple[_Directory, int]:
    """Return what the zip64 record says, which agrees with the short one, and its position."""
    stream.seek(locator)
    _mark, disk, where, disks = _LOCATOR.unpack(stream.read(_LOCATOR.size))
    if where != locator - _END64.size or disk or disks != 1:
        raise Refused("a zip64 record that does not lie where the archive says")
    stream.seek(where)
    mark, size, _made, _need, this, first, here, *numbers = _END64.unpack(stream.read(_END64.size))
    if mark != b"PK\x06\x06" or size != _END64.size - 12 or this or first or here != numbers[0]:
        raise Refused("a zip64 record that is damaged, or of an archive in several parts")
    full = _Directory(*numbers)
    for one, other, unset in zip(short, full, (_SHORT, _LONG, _LONG), strict=True):
        if one not in (other, unset):
            raise Refused("a zip archive whose two end records disagree")
    return full, where


class _Described(NamedTuple):
    """An entry as the directory describes it."""

    name: bytes
    flags: int
    size: int
    crc: int
    header: int
    """Position of its own header."""


def _entries(stream: BinaryIO, directory: _Directory) -> Iterator[Entry]:
    """Yield the entries, in the order of the directory.

    :raises Refused: two may be taken for each other, or a header disagrees.
    """
    described = list(_described(stream, directory))
    _check_names(described)
    starts = _check_headers(stream, described, directory.start)
    for entry, start in zip(described, starts, strict=True):
        yield Entry(_text(entry.name), start, entry.size, entry.crc)


def _described(stream: BinaryIO, directory: _Directory) -> Iterator[_Described]:
    stream.seek(directory.start)
    data = stream.read(directory.size)
    place = 0
    for _number in range(directory.entries):
        if len(data) - place < _ENTRY.size:
            raise Refused("a zip directory with fewer entries than its end says")
        fields = _ENTRY.unpack_from(data, place)
        mark, _made, _need, flags, method, _time, _date, crc, packed, size, *rest = fields
        name_size, extra_size, comment_size, disk, _inner, outer, header = rest
        place += _ENTRY.size
        name = data[place : place + name_size]
        extra = data[place + name_size : place + name_size + extra_size]
        place += name_size + extra_size + comment_size
        if mark != b"PK\x01\x02" or place > len(data) or comment_size or disk:
            raise Refused("a zip directory that is damaged")
        size, packed, header = _long_numbers(name, extra, size, packed, header)
        _check_stored(name, flags, method, size, packed)
        if (outer & _FOLDER or name.endswith(b"/")) and size:
            raise Refused(f"{_text(name)} is a folder with data, of which PyTorch reads none")
        yield _Described(name, flags, size, crc, header)
    if place != len(data):
        raise Refused("a zip directory with more in it than its end says")


def _long_numbers(name: bytes, extra: bytes, *numbers: int) -> tuple[int, ...]:
    """Return sizes and position of an entry, those from its zip64 field that are there."""
    fields = dict(_extra_fields(name, extra))
    if _UNICODE_PATH in fields:
        raise Refused(f"{_text(name)} has a second name")
    wanted = [number == _LONG for number in numbers]
    held = fields.get(_ZIP64, b"")
    if len(held) < _QUAD.size * sum(wanted):
        raise Refused(f"{_text(name)} lacks its zip64 field")
    long = iter([value for (value,) in _QUAD.iter_unpack(held[: _QUAD.size * sum(wanted)])])
    return tuple(next(long) if use else number for use, number in zip(wanted, numbers, strict=True))


def _extra_fields(name: bytes, extra: bytes) -> Iterator[tuple[int, bytes]]:
    place, seen = 0, set()
    while place + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, place)
        place += 4
        if kind in seen or place + size > len(extra):
            raise Refused(f"{_text(name)} has extra fields that are damaged")
        seen.add(kind)
        yield kind, extra[place : place + size]
        place += size


def _check_stored(name: bytes, flags: int, method: int, size: int, packed: int) -> None:
    if flags & _REFUSED:
        raise Refused(f"{_text(name)} is encrypted")
    if method:
        how = _METHODS.get(method, f"method {method}")
        raise Refused(
            f"{_text(name)} is compressed ({how}), which torch.save never does: unpack the archive "
            "and pack it again without compression"
        )
    if size != packed:
        raise Refused(f"{_text(name)} is stored as it is, in {packed} bytes instead of {size}")


def _check_names(entries: list[_Described]) -> None:
    """Check that no name stands for two entries, whatever a reader makes of names."""
    if not entries:
        raise Refused("a zip archive without entries")
    folder = entries[0].name.partition(b"/")[0] + b"/"
    seen = set()
    for entry in entries:
        name = entry.name
        if b"/" not in name:
            raise Refused(
                f"a zip archive, but not one of torch.save: {_text(name)} lies in no folder"
            )
        if not name.startswith(folder):
            raise Refused(
                f"{_text(name)} is not in the folder {_text(folder)} that the other entries are in"
            )
        parts = name.removesuffix(b"/").split(b"/")
        if not _plain(name) or any(part in (b"", b".", b"..") for part in parts):
            raise Refused(f"{_text(name)} is a name that readers understand differently")
        key = name.lower()  # of ASCII only, as PyTorch compares
        if key in seen:
            raise Refused(
                f"a zip archive with two entries of one name: {_text(name)}, regardless of case"
            )
        seen.add(key)


def _plain(name: bytes) -> bool:
    """Return whether a name is text without a backslash or a control character."""
    try:
        return name.decode("utf-8").isprintable() and b"\\" not in name
    except UnicodeDecodeError:
        return False


def _check_headers(stream: BinaryIO, entries: list[_Described], end: int) -> list[int]:
    """Check every entry's own header, and return where its data begins.

    :param end: the position of the directory, up to which the entries reach.
    """
    starts = [0] * len(entries)
    order = sorted(range(len(entries)), key=lambda number: entries[number].header)
    if entries[order[0]].header:
        raise Refused("a zip archive with something before its first entry")
    for number, following in zip(order, [*order[1:], None], strict=True):
        entry = entries[number]
        starts[number] = _check_header(stream, entry)
        last = starts[number] + entry.size
        _check_gap(stream, entry, last, end if following is None else entries[following].header)
    return starts


def _check_header(stream: BinaryIO, entry: _Described) -> int:
    stream.seek(entry.header)
    data = stream.read(_LOCAL.size + len(entry.name))
    if len(data) != _LOCAL.size + len(entry.name) or data[:4] != b"PK\x03\x04":
        raise Refused(f"{_text(entry.name)} is not where the directory says")
    _mark, _need, flags, method, _time, _date, crc, packed, size, name, extra = _LOCAL.unpack_from(
        data
    )
    later = flags & _DESCRIPTOR
    if packed == size == _LONG:
        fields = dict(_extra_fields(entry.name, stream.read(extra)))
        packed, size = struct.unpack("<2Q", fields.get(_ZIP64, b"").ljust(16, b"\0")[:16])
    agrees = (packed, size, crc) == (entry.size, entry.size, entry.crc)
    if (
        data[_LOCAL.size :] != entry.name
        or name != len(entry.name)
        or method
        or flags != entry.flags
        or not (agrees or (later and (packed, size, crc) == (0, 0, 0)))
    ):
        raise Refused(f"{_text(entry.name)} has a header that disagrees with the directory")
    return entry.header + len(data) + int(extra)


def _check_gap(stream: BinaryIO, entry: _Described, last: int, following: int) -> None:
    """Check that nothing but an entry's descriptor lies between its data and what follows."""
    gap = following - last
    if gap < 0:
        raise Refused(f"{_text(entry.name)} overlaps what follows it: its size is wrong")
    if not entry.flags & _DESCRIPTOR:
        if gap:
            raise Refused(f"{gap} bytes behind {_text(entry.name)} belong to no entry")
        return
    stream.seek(last)
    if gap not in _DESCRIPTORS or struct.unpack(_DESCRIPTORS[gap], stream.read(gap)) != (
        entry.crc,
        entry.size,
        entry.size,
    ):
        raise Refused(f"what follows {_text(entry.name)} disagrees with the directory")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
