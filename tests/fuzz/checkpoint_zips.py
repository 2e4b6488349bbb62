"""Zip archives with lies in their headers, directory and end: refused, or as PyTorch reads them."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator
from typing import Any

import torch

from helpers.archives import Archive, Member
from helpers.builders import recorded_bytes
from matrix.checkpoint import torchfile
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.zips import Zip

_NUMBERS = (0, 1, 2, 4, 8, 22, 30, 44, 46, 0x7075, 0xFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_NAMES = (b"a/data.pkl", b"a/DATA.pkl", b"a/data/0", b"A/data.pkl", b"b/data.pkl", b"a/./data.pkl",
          b"a/version", b"a/byteorder", b"a/.data/version", b"a/constants.pkl", b"a\\data.pkl",
          b"a/data.pkl/", b"data.pkl", b"a/data.pkl\0", b"a//data.pkl")  # fmt: skip
_CONTENTS = (
    b"\x80\x02}.",
    b"\x80\x02N.",
    b"3\n",
    b"little",
    b"big",
    b"1",
    b"",
    b"PK\5\6" + bytes(18),
)
_FIELDS = ("flags", "method", "crc", "packed", "size")
_LIES = {"local": (*_FIELDS, "name_size", "extra_size"), "central": (*_FIELDS, "disk", "outer",
         "header")}  # fmt: skip


def one(data: bytes) -> None:
    """Read an input as an archive; one that begins with a zero byte says how to make one."""
    whole = _made(random.Random(data)) if data[:1] == b"\0" else data
    try:
        torchfile.of_bytes(whole)
        archive = Zip(io.BytesIO(whole))
    except Malformed:
        return
    names = [name for name in archive.entries if not name.endswith("/")]
    folder = next(iter(archive.entries)).partition("/")[0] + "/"
    reader = torch._C.PyTorchFileReader(io.BytesIO(whole))
    for name in names:
        if reader.get_record(name.removeprefix(folder)) != archive.read(name, len(whole)):
            raise AssertionError(f"PyTorch reads another {name}")


def _made(chance: random.Random) -> bytes:
    members = [Member(b"a/data.pkl", b"\x80\x02}."), Member(b"a/version", b"3\n")]
    members += [Member(b"a/data/0", b"0123")] * chance.randint(0, 1)
    for _more in range(chance.randint(0, 2)):
        members.append(Member(chance.choice(_NAMES), chance.choice(_CONTENTS)))
    chance.shuffle(members)
    archive = Archive(members, zip64=chance.random() < 0.5)
    for _lie in range(chance.randint(0, 2)):
        _lie_about(archive, chance)
    whole = bytearray(archive.bytes())
    if chance.random() < 0.3:
        place = chance.randrange(len(whole))
        whole[place] = chance.randrange(256)
    return bytes(whole)


def _lie_about(archive: Archive, chance: random.Random) -> None:
    member = chance.choice(archive.members)
    number = chance.choice((*_NUMBERS, chance.randrange(400)))
    piece = chance.choice((b"x", b"PK\3\4", bytes(12), struct.pack("<4sLLL", b"PK\7\10", 0, 4, 4)))
    match chance.randrange(6):
        case 0:
            kind: Any = chance.choice(tuple(_LIES))
            field = chance.choice(_LIES[kind])
            getattr(member, kind)[field] = number & (0xFFFF if field in _SHORT else 0xFFFFFFFF)
        case 1:
            place = chance.choice(("before", "after", "extra"))
            setattr(member, place, piece)
        case 2:
            member.listed = False
        case 3:
            place = chance.choice(("prefix", "before_directory", "after_directory", "comment",
                                   "suffix"))  # fmt: skip
            setattr(archive, place, piece)
        case 4:
            field = chance.choice(("count", "total", "size", "start"))
            archive.end[field] = number & (0xFFFF if field in ("count", "total") else 0xFFFFFFFF)
        case _:
            archive.end64[chance.choice(("count", "total", "size", "start"))] = number


_SHORT = ("flags", "method", "name_size", "extra_size", "disk")


def seeds() -> Iterator[bytes]:
    """Yield archives of PyTorch, and inputs that make others."""
    yield recorded_bytes("2.17.1", "attention-only")
    yield Archive([Member(b"a/data.pkl", b"\x80\x02}."), Member(b"a/version", b"3\n")]).bytes()
    for number in range(20):
        yield b"\0%d" % number
