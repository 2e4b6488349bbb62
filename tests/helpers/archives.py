"""Zip archives whose headers, directory and end say what a test wants them to say."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")


@dataclasses.dataclass
class Member:
    """One entry; ``local`` and ``central`` override fields of its two headers."""

    name: bytes
    data: bytes = b""
    flags: int = 0
    method: int = 0
    before: bytes = b""
    after: bytes = b""
    extra: bytes = b""
    local: dict[str, Any] = dataclasses.field(default_factory=dict)
    central: dict[str, Any] = dataclasses.field(default_factory=dict)
    listed: bool = True


@dataclasses.dataclass
class Archive:
    """An archive; ``end``, ``end64`` and ``locator`` override fields of the records at its end."""

    members: list[Member]
    prefix: bytes = b""
    before_directory: bytes = b""
    after_directory: bytes = b""
    comment: bytes = b""
    suffix: bytes = b""
    zip64: bool = False
    end: dict[str, int] = dataclasses.field(default_factory=dict)
    end64: dict[str, int] = dataclasses.field(default_factory=dict)
    locator: dict[str, int] = dataclasses.field(default_factory=dict)

    def bytes(self) -> bytes:
        """Return the archive."""
        out = bytearray(self.prefix)
        directory = b""
        for member in self.members:
            out += member.before
            if member.listed:
                directory += _central(member, len(out))
            out += _local(member) + member.data + member.after
        out += self.before_directory
        return bytes(out + directory + self.after_directory + self._ends(len(out), len(directory)))

    def _ends(self, start: int, size: int) -> bytes:
        count = sum(member.listed for member in self.members)
        fields = {"count": count, "total": count, "size": size, "start": start}
        ends = b""
        if self.zip64:
            where = start + size + len(self.after_directory)
            full = {**fields, **self.end64}
            ends += _END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, *full.values())
            place = {"disk": 0, "where": where, "disks": 1, **self.locator}
            ends += _LOCATOR.pack(b"PK\6\7", *place.values())
        short = {**fields, **self.end}
        return ends + (
            _END.pack(b"PK\5\6", 0, 0, *short.values(), len(self.comment))
            + self.comment
            + self.suffix
        )


def _local(member: Member) -> bytes:
    fields = {
        "flags": member.flags,
        "method": member.method,
        "crc": 0,
        "packed": len(member.data),
        "size": len(member.data),
        "name": member.name,
        "extra": member.extra,
    } | member.local
    header = _LOCAL.pack(
        b"PK\3\4",
        20,
        fields["flags"],
        fields["method"],
        0,
        0,
        fields["crc"],
        fields["packed"],
        fields["size"],
        fields.get("name_size", len(fields["name"])),
        fields.get("extra_size", len(fields["extra"])),
    )
    return header + bytes(fields["name"]) + bytes(fields["extra"])


def _central(member: Member, place: int) -> bytes:
    fields = {
        "flags": member.flags,
        "method": member.method,
        "crc": 0,
        "packed": len(member.data),
        "size": len(member.data),
        "name": member.name,
        "extra": b"",
        "comment": b"",
        "disk": 0,
        "outer": 0,
        "header": place,
    } | member.central
    header = _CENTRAL.pack(
        b"PK\1\2",
        20,
        20,
        fields["flags"],
        fields["method"],
        0,
        0,
        fields["crc"],
        fields["packed"],
        fields["size"],
        len(fields["name"]),
        len(fields["extra"]),
        len(fields["comment"]),
        fields["disk"],
        0,
        fields["outer"],
        fields["header"],
    )
    return header + bytes(fields["name"]) + bytes(fields["extra"]) + bytes(fields["comment"])
