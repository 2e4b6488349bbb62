"""Rule: what is written is what was read; whatever is otherwise is noticed, and nothing is left."""

from __future__ import annotations

import io
import os
import random
import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from helpers.formats import FORMATS, layered, recorded_state, torch_zip
from matrix.checkpoint import copying, torch_writing, torchfile, zip_writing
from matrix.checkpoint import torch_zip as zip_format
from matrix.checkpoint.checksums import Checksum, combined
from matrix.checkpoint.copying import CHUNK, Content, Output, Piece
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.spans import FileRange, Span
from matrix.checkpoint.zip_writing import NewEntry
from matrix.checkpoint.zips import Zip
from matrix.doctor import remap

pytestmark = pytest.mark.usefixtures("not_tried")


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


# Pieces.


def content(data: bytes, size: int) -> Content:
    """Content in pieces of a size, which threads make."""

    def pieces() -> list[Piece]:
        return [Piece(len(data[at : at + size]), fill(at)) for at in range(0, len(data), size)]

    def fill(at: int):  # type: ignore[no-untyped-def]
        def into(memory: memoryview) -> None:
            memory[:] = data[at : at + len(memory)]

        return into

    return Content(len(data), 1, pieces)


@pytest.mark.parametrize("size", [1000, 1 << 16, CHUNK - 1, CHUNK, 3 * CHUNK])
def test_pieces_of_any_size_come_in_order(size: int, tmp_path: Path) -> None:
    data = noise(5 * CHUNK + 77)
    with (tmp_path / "x").open("w+b") as stream:
        stream.write(b"what is there already")
        output = Output(stream)
        output.copy(content(data, size).pieces())
        output.read_back()
        assert output.size == len(data)
    assert (tmp_path / "x").read_bytes() == b"what is there already" + data


def test_a_range_of_a_range_is_copied(tmp_path: Path) -> None:
    data = noise(3 * CHUNK)
    (tmp_path / "x").write_bytes(data)
    with (tmp_path / "x").open("rb") as stream:
        inner = FileRange(stream, 100, 2 * CHUNK)
        copied = b"".join(map(bytes, copying.made(copying.pieces(Span(inner, 5, CHUNK + 9)))))
        assert copied == data[105 : 105 + CHUNK + 9]
        with pytest.raises(Malformed, match="ended"):
            Span(inner, 5, 4 * CHUNK).read_into(2 * CHUNK - 6, memoryview(bytearray(10)))


def test_a_file_that_ends_while_it_is_copied(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(noise(CHUNK))
    with (tmp_path / "x").open("rb") as stream, pytest.raises(Malformed, match="ended"):
        Output(io.BytesIO()).copy(copying.pieces(Span(stream, 0, 2 * CHUNK)))


def test_the_checksum_of_pieces_is_that_of_the_whole() -> None:
    data = noise(300_000)
    for size in (1, 7, 4096, 65_537, 300_000):
        checksum = Checksum()
        pieces = checksum.of(content(data[: size * 1000], size).pieces())
        assert sum(len(part) for part in copying.made(pieces)) == len(data[: size * 1000])
        assert checksum.value == zlib.crc32(data[: size * 1000])
    assert combined(zlib.crc32(b"a"), zlib.crc32(b""), 0) == zlib.crc32(b"a")
    assert Checksum().value == zlib.crc32(b"")


# Archives.


def archive(entries: dict[str, bytes], path: Path) -> dict[str, int]:
    new = [NewEntry.of(name, content(data, CHUNK)) for name, data in entries.items()]
    with path.open("w+b") as stream:
        return dict(zip_writing.write(new, Output(stream)))


def check_archive(entries: dict[str, bytes], path: Path) -> None:
    """As Python reads it, checksums included, and as this package does."""
    with zipfile.ZipFile(path) as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()} == entries
        assert all(info.compress_type == zipfile.ZIP_STORED for info in found.infolist())
    with path.open("rb") as stream:
        own = Zip(stream)
        assert {name: own.read(name, 1 << 30) for name in own.entries} == entries
        assert all(own.entries[n].crc == zlib.crc32(data) for n, data in entries.items())


ENTRIES = {
    "a/data.pkl": b"\x80\x02}.",
    "a/data/0": noise(3 * CHUNK + 5),
    "a/data/1": b"",
    "a/data/öü": noise(100),
    "a/version": b"3\n",
}


@pytest.mark.parametrize("zip64_from", [zip_writing._ZIP64_FROM, 2 * CHUNK, 0])
def test_an_archive_is_read_by_everybody(
    zip64_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_writing, "_ZIP64_FROM", zip64_from)
    starts = archive(ENTRIES, tmp_path / "x.zip")
    check_archive(ENTRIES, tmp_path / "x.zip")
    assert all(start % 64 == 0 for start in starts.values())
    whole = (tmp_path / "x.zip").read_bytes()
    for name, start in starts.items():
        assert whole[start : start + len(ENTRIES[name])] == ENTRIES[name]


def test_an_archive_of_more_entries_than_sixteen_bits_count(tmp_path: Path) -> None:
    entries = {f"a/data/{number}": b"%d" % number for number in range(65_540)}
    archive(entries, tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as found:
        assert len(found.namelist()) == len(entries)
        assert found.read("a/data/65539") == b"65539"
    with (tmp_path / "x.zip").open("rb") as stream:
        assert Zip(stream).entries.keys() == entries.keys()


@pytest.mark.parametrize("zip64_from", [zip_writing._ZIP64_FROM, 0])
def test_pytorch_reads_and_maps_what_is_written(
    zip64_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_writing, "_ZIP64_FROM", zip64_from)
    state = {"a": torch.randn(700, 700), "b": torch.arange(3), "c": torch.zeros(0)}
    path = torch_zip(state, tmp_path)
    with path.open("rb") as stream, (tmp_path / "new.pt").open("w+b") as new:
        torch_writing.write(torchfile.read(stream), {}, new, lambda _size: None)
    for mapped in (False, True):
        found = torch.load(tmp_path / "new.pt", mmap=mapped)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], state[key]) for key in state)
    with zipfile.ZipFile(tmp_path / "new.pt") as one, zipfile.ZipFile(path) as other:
        assert one.testzip() is None
        assert [i.CRC for i in one.infolist() if "/data/" in i.filename] == [
            i.CRC for i in other.infolist() if "/data/" in i.filename
        ]


# What goes wrong.


def with_a_tensor(name: str, folder: Path) -> Path:
    """A checkpoint of a format, with a tensor that takes several pieces."""
    release = "2.17.1" if name == "safetensors" else "1.7"
    state = {**recorded_state(release), "w": torch.arange(CHUNK, dtype=torch.float32)}
    return FORMATS[name](layered(state, 2), folder)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_does_not_hold_what_was_written(
    name: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_a_tensor(name, tmp_path)
    honest = copying.read_into

    def spoilt(stream: io.BytesIO, start: int, memory: memoryview) -> int:
        count = honest(stream, start, memory)
        memory[-1] ^= 1
        return count

    monkeypatch.setattr(copying, "read_into", spoilt)
    with pytest.raises(CheckpointError, match="is not what is read from the new file"):
        remap(path, out / path.name, "1.11")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_changes_while_it_is_copied(
    name: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_a_tensor(name, tmp_path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    read_back = Output.read_back

    def touching(output: Output) -> None:
        for file in files:
            os.utime(file, (1, 1))
        read_back(output)

    monkeypatch.setattr(Output, "read_back", touching)
    with pytest.raises(CheckpointError, match="was changed while it was copied"):
        remap(path, out / path.name, "1.11")
    assert list(out.iterdir()) == []


def test_storages_that_readers_find_elsewhere(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_a_tensor("zip", tmp_path)
    write = zip_format.ZipStorages.write
    monkeypatch.setattr(
        zip_format.ZipStorages,
        "write",
        lambda *arguments: {key: at + 64 for key, at in write(*arguments).items()},
    )
    with pytest.raises(CheckpointError, match="holds other tensors than it should"):
        remap(path, out / "x.pt", "1.11")
    assert list(out.iterdir()) == []
