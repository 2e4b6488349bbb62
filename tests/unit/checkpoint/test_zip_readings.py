"""Rule: an archive is read only if every reader finds the same in it, PyTorch's own above all."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from helpers.archives import Archive, Member
from helpers.builders import recorded_bytes
from matrix.checkpoint import torchfile
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.zips import Zip
from matrix.doctor import CheckpointError, inspect

PICKLE, OTHER = b"\x80\x02}.", b"\x80\x02N."


def members() -> list[Member]:
    return [
        Member(b"a/data.pkl", PICKLE),
        Member(b"a/byteorder", b"little"),
        Member(b"a/data/0", b"0123"),
        Member(b"a/version", b"3\n"),
    ]


def with_member(**changes: object) -> Archive:
    """An archive of which the pickle's entry is another one."""
    first, *rest = members()
    return Archive([Member(**{**vars(first), **changes}), *rest])  # type: ignore[arg-type]


def with_more(*more: Member) -> Archive:
    return Archive([*members(), *more])


def named(name: bytes) -> Archive:
    return with_more(Member(name, OTHER))


def two_directories() -> bytes:
    one, other = Archive(members()).bytes(), with_member(data=OTHER).bytes()
    return one + other


def second_directory_inside() -> bytes:
    """The end record names a directory that lies before the one beside it."""
    whole = bytearray(Archive(members()).bytes())
    end = whole.rindex(b"PK\5\6")
    (start,) = struct.unpack_from("<L", whole, end + 16)
    directory = whole[start:end]
    whole[end:end] = directory
    return bytes(whole)


def fake_end_in_the_comment() -> bytes:
    inner = Archive(members()).bytes()
    fake = inner[inner.rindex(b"PK\5\6") :]
    return Archive(members(), comment=b"x" + fake).bytes()


def zip64(**lies: dict[str, int]) -> Archive:
    return Archive(members(), zip64=True, **lies)  # type: ignore[arg-type]


def described(data: bytes, crc: int = 0) -> Member:
    """A member with its sizes behind it."""
    late = struct.pack("<4sLLL", b"PK\7\10", crc, len(data), len(data))
    sizes = {"packed": 0, "size": 0}
    return Member(b"a/data.pkl", data, flags=8, local=sizes, after=late)


HONEST: dict[str, Callable[[], bytes]] = {
    "plain": lambda: Archive(members()).bytes(),
    "zip64": lambda: zip64().bytes(),
    "zip64, saturated": lambda: zip64(end={"size": 0xFFFFFFFF, "start": 0xFFFFFFFF}).bytes(),
    "sizes behind the data": lambda: Archive([described(PICKLE), *members()[1:]]).bytes(),
    "padding in the header": lambda: with_member(extra=b"FB\4\0ZZZZ").bytes(),
    "a folder": lambda: Archive([Member(b"a/"), *members()]).bytes(),
    "torch.save": lambda: recorded_bytes("2.17.1"),
}
LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "two archives in a row": (two_directories, "does not lie where"),
    "a second directory": (second_directory_inside, "does not lie where"),
    "an end record in the comment": (fake_end_in_the_comment, "comment|does not lie where"),
    "a comment": (lambda: Archive(members(), comment=b"hello").bytes(), "comment"),
    "bytes behind the end": (lambda: Archive(members(), suffix=b"hello").bytes(), "other bytes"),
    "bytes before the first entry": (
        lambda: with_member(before=b"PK\3\4" + bytes(40)).bytes(),
        "before its first entry",
    ),
    "bytes between entries": (lambda: with_member(after=b"x").bytes(), "belong to no entry"),
    "an entry that is not listed": (
        lambda: with_more(Member(b"a/data.pkl", OTHER, listed=False)).bytes(),
        "belong to no entry",
    ),
    "bytes before the directory": (
        lambda: Archive(members(), before_directory=b"x").bytes(),
        "belong to no entry",
    ),
    "bytes behind the directory": (
        lambda: Archive(members(), after_directory=b"x").bytes(),
        "does not lie where",
    ),
    "zip64: another place": (lambda: zip64(locator={"where": 0}).bytes(), "zip64 record"),
    "zip64: several disks": (lambda: zip64(locator={"disks": 2}).bytes(), "zip64 record"),
    "zip64: another start": (lambda: zip64(end64={"start": 1}).bytes(), "disagree"),
    "zip64: another count": (lambda: zip64(end64={"total": 3}).bytes(), "disagree|damaged"),
    "zip64: another size": (lambda: zip64(end={"size": 7}).bytes(), "disagree"),
    "fewer entries than said": (
        lambda: Archive(members(), end={"count": 5, "total": 5}).bytes(),
        "fewer entries",
    ),
    "more entries than said": (
        lambda: Archive(members(), end={"count": 3, "total": 3}).bytes(),
        "more in it",
    ),
    "one name twice": (lambda: named(b"a/data.pkl").bytes(), "two entries of one name"),
    "other case": (lambda: named(b"a/DATA.pkl").bytes(), "two entries of one name"),
    "other case of the folder": (lambda: named(b"A/data.pkl").bytes(), "not in the folder"),
    "another folder": (lambda: named(b"b/data.pkl").bytes(), "not in the folder"),
    "a leading ./": (lambda: named(b"./a/data.pkl").bytes(), "not in the folder"),
    "a ./ inside": (lambda: named(b"a/./data.pkl").bytes(), "understand differently"),
    "a .. inside": (lambda: named(b"a/x/../data.pkl").bytes(), "understand differently"),
    "two slashes": (lambda: named(b"a//data.pkl").bytes(), "understand differently"),
    "a backslash": (lambda: named(b"a/x\\data.pkl").bytes(), "understand differently"),
    "a zero byte": (lambda: named(b"a/data.pkl\0x").bytes(), "understand differently"),
    "no text": (lambda: named(b"a/\xff").bytes(), "understand differently"),
    "no folder": (lambda: named(b"data.pkl").bytes(), "lies in no folder"),
    "only the other case": (
        lambda: Archive([Member(b"a/Data.pkl", PICKLE), *members()[1:]]).bytes(),
        "where torch.save writes",
    ),
    "TorchScript": (lambda: named(b"a/constants.pkl").bytes(), "TorchScript"),
    "TorchScript in other case": (
        lambda: named(b"a/Constants.pkl").bytes(),
        "where torch.save writes",
    ),
    "header: another name": (lambda: with_member(local={"name": b"a/date.pkl"}).bytes(), "header"),
    "header: longer name": (lambda: with_member(local={"name_size": 14}).bytes(), "header"),
    "header: another size": (lambda: with_member(local={"size": 3}).bytes(), "header"),
    "header: another method": (lambda: with_member(local={"method": 8}).bytes(), "header"),
    "header: other flags": (lambda: with_member(local={"flags": 8}).bytes(), "header"),
    "header: another checksum": (lambda: with_member(local={"crc": 7}).bytes(), "header"),
    "header: longer extra": (lambda: with_member(local={"extra_size": 2}).bytes(), "overlaps"),
    "directory: another entry's header": (
        lambda: with_member(central={"header": 44}).bytes(),
        "before its first|not where|overlaps|header",
    ),
    "directory: shorter": (
        lambda: with_member(central={"size": 3, "packed": 3}).bytes(),
        "header",
    ),
    "directory: stored in other size": (lambda: with_member(central={"size": 3}).bytes(), "stored"),
    "directory: a second name": (
        lambda: with_member(central={"extra": b"\x75\x70\x02\0ab"}).bytes(),
        "second name",
    ),
    "directory: a comment": (lambda: with_member(central={"comment": b"x"}).bytes(), "damaged"),
    "directory: a file that is a folder": (
        lambda: with_member(central={"outer": 0x10}).bytes(),
        "folder with data",
    ),
    "a folder with data": (lambda: named(b"a/x/").bytes(), "folder with data"),
    "directory: another disk": (lambda: with_member(central={"disk": 1}).bytes(), "damaged"),
    "directory: zip64 field missing": (
        lambda: with_member(central={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}).bytes(),
        "zip64 field",
    ),
    "encrypted": (lambda: with_member(flags=1).bytes(), "encrypted"),
    "masked": (lambda: with_member(flags=1 << 13).bytes(), "encrypted"),
    "deflated": (lambda: with_member(method=8).bytes(), r"compressed \(deflate\)"),
    "bzip2": (lambda: with_member(method=12).bytes(), "bzip2"),
    "unheard of": (lambda: with_member(method=77).bytes(), "method 77"),
    "behind the data: other sizes": (
        lambda: Archive(
            [Member(b"a/data.pkl", PICKLE, flags=8, after=bytes(16)), *members()[1:]]
        ).bytes(),
        "what follows",
    ),
    "no version": (lambda: Archive(members()[:-1]).bytes(), "version"),
    "a version of the future": (
        lambda: Archive([*members()[:-1], Member(b"a/version", b"11\n")]).bytes(),
        "version",
    ),
    "a version that is none": (
        lambda: Archive([*members()[:-1], Member(b"a/version", b"x")]).bytes(),
        "version",
    ),
    "a byte order that is none": (
        lambda: Archive([members()[0], Member(b"a/byteorder", b"middle"), *members()[2:]]).bytes(),
        "byte order",
    ),
    "bytes behind the pickle": (lambda: with_member(data=PICKLE + OTHER).bytes(), "follow the end"),
    "no entries": (lambda: b"PK\3\4" + Archive([]).bytes(), "does not lie|without entries"),
}


def read_by_pytorch(data: bytes, names: list[str]) -> dict[str, bytes]:
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    folder = names[0].partition("/")[0] + "/"
    return {
        name: reader.get_record(name.removeprefix(folder))
        for name in names
        if not name.endswith("/")
    }


def agrees_with_pytorch(data: bytes) -> bool:
    """Return whether it was read; what was read is what PyTorch reads."""
    try:
        torchfile.of_bytes(data)
    except Malformed:
        return False
    archive = Zip(io.BytesIO(data))
    ours = {name: archive.read(name, 1 << 20) for name in archive.entries if name[-1] != "/"}
    assert read_by_pytorch(data, list(archive.entries)) == ours
    return True


@pytest.mark.parametrize("name", HONEST)
def test_honest_archives_are_read_as_pytorch_reads_them(name: str, tmp_path: Path) -> None:
    data = HONEST[name]()
    assert agrees_with_pytorch(data)
    (tmp_path / "x.pt").write_bytes(data)
    assert inspect(tmp_path / "x.pt", ["1.11"]).warnings == ()


@pytest.mark.parametrize("name", LIES)
def test_archives_with_more_than_one_reading_are_refused(name: str, tmp_path: Path) -> None:
    make, complaint = LIES[name]
    (tmp_path / "x.pt").write_bytes(make())
    with pytest.raises(CheckpointError, match=complaint) as caught:
        inspect(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["one name twice", "deflated", "encrypted", "TorchScript"])
def test_the_same_in_an_extra_state_refuses_the_whole_file(name: str, tmp_path: Path) -> None:
    """Transformer Engine would load it, and run what this reader did not read."""
    make, complaint = LIES[name]
    torch.save({"core_attention._extra_state": io.BytesIO(make())}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=complaint):
        inspect(tmp_path / "x.pt")


SEEDS = [make() for name, make in HONEST.items() if name != "torch.save"]


def altered(data: bytes, chance: random.Random) -> bytes:
    """Return an archive with a few of its numbers changed, or pieces doubled or dropped."""
    new = bytearray(data)
    for _change in range(chance.randint(1, 3)):
        place = chance.randrange(len(new))
        match chance.randrange(4):
            case 0:
                new[place] = chance.choice((0, 1, 8, 0x20, 0x50, 0x7F, 0xFF, new[place] ^ 1))
            case 1:
                piece = new[place : place + chance.randint(1, 60)]
                new[chance.randrange(len(new)) :][:0] = piece
                new[place:place] = piece
            case 2:
                del new[place : place + chance.randint(1, 30)]
            case _:
                number = struct.pack("<L", chance.choice((0, 4, 22, len(new), 0xFFFFFFFF)))
                new[place : place + 4] = number
    return bytes(new)


def test_altered_archives_are_refused_or_read_as_pytorch_reads_them() -> None:
    chance = random.Random(18)
    read = sum(agrees_with_pytorch(altered(chance.choice(SEEDS), chance)) for _ in range(3000))
    assert 0 < read < 1500  # changes of data and of dates are no lies


def test_an_honest_file_of_pytorch_in_every_shape(tmp_path: Path) -> None:
    shapes = {"empty": torch.empty(0), "one": torch.ones(1), "bytes": torch.zeros(99).byte()}
    for name in ("x.pt", "modèle.pt", "a b.pt"):
        torch.save(shapes, tmp_path / name)
        assert agrees_with_pytorch((tmp_path / name).read_bytes())
        assert inspect(tmp_path / name, ["1.11"]).keys == 3
