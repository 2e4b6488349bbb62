"""Zip archives, written as ``torch.save`` writes them: nothing compressed, data aligned.

Unlike :mod:`zipfile`, this takes an entry's checksum where it is known, so that entries of another
archive are copied without looking at their data. Sizes and positions are of zip64 where they need
it (APPNOTE.TXT 4.3 and 4.5.3).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import struct
from collections.abc import Iterable, Mapping, Sequence

from matrix.checkpoint.checksums import Checksum
from matrix.checkpoint.copying import Content, Output, Piece, made, pieces
from matrix.checkpoint.spans import Span

_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_LONG, _SHORT = 0xFFFF_FFFF, 0xFFFF
_ZIP64_FROM = _LONG
"""The least number that takes a field of zip64."""
_UTF8 = 0x800
_NEEDS, _NEEDS_ZIP64 = 20, 45
_DATE = 1 << 5 | 1  # 1980-01-01: a copy says nothing of when it was made
_ALIGNMENT = 64  # in bytes, of storages in the file, as torch.load(mmap=True) needs it


@dataclasses.dataclass(frozen=True)
class NewEntry:
    """An entry to write."""

    name: str
    size: int
    pieces: Iterable[Piece]
    crc: int | None
    """CRC-32 of the data; None where it is computed while they are written."""

    @classmethod
    def copied(cls, name: str, span: Span, crc: int) -> NewEntry:
        """Return an entry that is copied from another archive."""
        return cls(name, span.size, pieces(span), crc)

    @classmethod
    def of(cls, name: str, content: Content) -> NewEntry:
        """Return an entry whose content is new."""
        return cls(name, content.size, content.pieces(), None)


@dataclasses.dataclass(frozen=True)
class _Written:
    entry: NewEntry
    crc: int
    header: int
    """Position of its header."""


def write(entries: Sequence[NewEntry], out: Output) -> Mapping[str, int]:
    """Write an archive, and return the positions of the entries' data in it, by name.

    :raises CheckpointError: the file has something else in it afterwards.
    :raises Malformed: data cannot be read.
    """
    sums = {entry.name: Checksum() for entry in entries if entry.crc is None}
    every = (sums[e.name].of(e.pieces) if e.crc is None else e.pieces for e in entries)
    written, starts = [], {}
    with contextlib.closing(made(itertools.chain.from_iterable(every))) as chunks:
        for entry in entries:
            header, crc = out.size, entry.crc or 0
            out.write(_local(entry, crc, header))
            starts[entry.name] = out.size
            while out.size < starts[entry.name] + entry.size:
                out.write(next(chunks))
            if entry.name in sums:
                crc = sums[entry.name].value
                out.replace(header, _local(entry, crc, header))
            written.append(_Written(entry, crc, header))
    _write_directory(written, out)
    out.read_back()
    return starts


def _local(entry: NewEntry, crc: int, header: int) -> bytes:
    """Return the header of an entry that lies at ``header``."""
    name = entry.name.encode()
    long = entry.size >= _ZIP64_FROM
    extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.size) if long else b""
    padding = -(header + _LOCAL.size + len(name) + len(extra) + 4) % _ALIGNMENT
    extra += b"FB" + struct.pack("<H", padding) + b"Z" * padding
    size = _LONG if long else entry.size
    needs = _NEEDS_ZIP64 if long else _NEEDS
    fields = needs, _flags(name), 0, 0, _DATE, crc, size, size, len(name), len(extra)
    return _LOCAL.pack(b"PK\x03\x04", *fields) + name + extra


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else _UTF8


def _write_directory(written: Sequence[_Written], out: Output) -> None:
    start = out.size
    for one in written:
        out.write(_described(one))
    size, count = out.size - start, len(written)
    if count >= _SHORT or start >= _ZIP64_FROM or size >= _ZIP64_FROM:
        end = out.size
        numbers = count, count, size, start
        rest = _END64.size - 12, _NEEDS_ZIP64, _NEEDS_ZIP64, 0, 0, *numbers
        out.write(_END64.pack(b"PK\x06\x06", *rest) + _LOCATOR.pack(b"PK\x06\x07", 0, end, 1))
    few, size, start = min(count, _SHORT), min(size, _LONG), min(start, _LONG)
    out.write(_END.pack(b"PK\x05\x06", 0, 0, few, few, size, start, 0))


def _described(one: _Written) -> bytes:
    """Return an entry of the directory."""
    name, numbers = one.entry.name.encode(), (one.entry.size, one.entry.size, one.header)
    long = [number for number in numbers if number >= _ZIP64_FROM]
    extra = struct.pack(f"<2H{len(long)}Q", 1, 8 * len(long), *long) if long else b""
    needs = _NEEDS_ZIP64 if long else _NEEDS
    size, packed, header = (number if number < _ZIP64_FROM else _LONG for number in numbers)
    fields = needs, needs, _flags(name), 0, 0, _DATE, one.crc, packed, size
    lengths = len(name), len(extra), 0, 0, 0, 0, header
    return _ENTRY.pack(b"PK\x01\x02", *fields, *lengths) + name + extra
