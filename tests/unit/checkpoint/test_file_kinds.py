"""Rule: a file that is no checkpoint is named as what it is, with what to do with it."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import os
import socket
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from helpers import layouts
from helpers.formats import recorded_state, torch_dist, torch_zip
from matrix.catalogue import file_kinds
from matrix.checkpoint.errors import CheckpointError
from matrix.cli import main
from matrix.doctor import inspect, remap
from matrix.errors import ExitCode


def a_tar(mode: str, form: int = tarfile.PAX_FORMAT) -> bytes:
    held, data = io.BytesIO(), b"weights"
    with tarfile.open(fileobj=held, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("model_weights.ckpt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return held.getvalue()


def a_zip(*names: str, packed: bool = False) -> bytes:
    held = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(held, "w", method) as archive:
        for name in names:
            archive.writestr(name, b"")
    return held.getvalue()


def an_npz() -> bytes:
    held = io.BytesIO()
    np.savez_compressed(held, a=np.ones(2))
    return held.getvalue()


def an_npy() -> bytes:
    held = io.BytesIO()
    np.save(held, np.ones(2))
    return held.getvalue()


def a_safetensors() -> bytes:
    from safetensors.torch import save

    return save({"a": torch.ones(2)})


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FILES: dict[str, tuple[str, Callable[[], bytes], str, str]] = {
    "nemo": ("x.nemo", lambda: a_tar("w"), "a tar archive (.nemo", "tar -xf"),
    "nemo, packed": ("x.nemo", lambda: a_tar("w:gz"), "compressed with gzip", "tar -xzf"),
    "tar of GNU": ("x.tar", lambda: a_tar("w", tarfile.GNU_FORMAT), "a tar archive", "Unpack"),
    "tar before ustar": (
        "x.tar",
        lambda: a_tar("w", tarfile.USTAR_FORMAT).replace(b"ustar\x0000", bytes(8)),
        "a tar archive",
        "Unpack",
    ),
    "gz": ("x.pt", lambda: gzip.compress(b"x"), "compressed with gzip", "gunzip"),
    "xz": ("x.pt", lambda: lzma.compress(b"x"), "compressed with xz", "unxz"),
    "bz2": ("x.pt", lambda: bz2.compress(b"x"), "compressed with bzip2", "bunzip2"),
    "zst": ("x.pt", lambda: b"\x28\xb5\x2f\xfd\x24\x01\x09\x00\x00x", "with zstd", "unzstd"),
    "7z": ("x.pt", lambda: b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24), "a 7z archive", "7z x"),
    "rar": ("x.pt", lambda: b"Rar!\x1a\x07\x01\x00", "a RAR archive", "Unpack"),
    "zip": ("x.zip", lambda: a_zip("a/b.txt"), "a zip archive that torch.save did", "unzip"),
    "zip, packed": (
        "x.pt",
        lambda: a_zip("a/model.pt", packed=True),
        "a zip archive that torch.save did",
        "unzip",
    ),
    "torchscript": (
        "x.pt",
        lambda: a_zip("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py", "m/version"),
        "a TorchScript archive",
        "torch.jit.load",
    ),
    "torch.export": (
        "x.pt2",
        lambda: a_zip("m/archive_format", "m/models/model.json"),
        "a program of torch.export",
        "state_dict",
    ),
    "keras": ("x.keras", lambda: a_zip("config.json", "model.weights.h5"), "a Keras model", ""),
    "npz": ("x.npz", an_npz, "an archive of NumPy arrays", "PyTorch checkpoint"),
    "npy": ("x.npy", an_npy, "a NumPy array", "PyTorch checkpoint"),
    "h5": ("x.h5", lambda: b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file", "PyTorch checkpoint"),
    "gguf": ("x.gguf", lambda: b"GGUF\x03\x00\x00\x00" + bytes(16), "a GGUF file", "converted"),
    "ggml": ("x.bin", lambda: b"lmgg" + bytes(16), "a GGML file", "converted"),
    "onnx": ("x.onnx", lambda: b"\x08\x08\x12\x07pytorch\x1a\x05", "an ONNX model", "exported"),
    "lfs": ("x.pt", lambda: POINTER, "a git-lfs pointer", "git lfs pull"),
    "lfs, safetensors": ("x.safetensors", lambda: POINTER, "a git-lfs pointer", "git lfs pull"),
    "html": ("x.pt", lambda: b"\n <!DOCTYPE html>\n<html><body>Sign in", "a web page", "login"),
    "html, safetensors": ("x.safetensors", lambda: b"<html>", "a web page", "login"),
    "xml": ("x.pt", lambda: b"<?xml version='1.0'?><Error>", "an XML text", "download"),
    "json": ("x.json", lambda: b'{"weight_map": {}}', "a JSON text", "its folder"),
    "text": ("x.pt", lambda: b"Access denied, see the log\n", "a text", "Read it"),
    "empty": ("x.pt", lambda: b"", "empty", "again"),
    "empty, safetensors": ("x.safetensors", lambda: b"", "empty", "again"),
    "zeros": ("x.pt", lambda: bytes(4096), "begins with zeros", "again"),
    "safetensors by another name": ("x.pt", a_safetensors, "a safetensors file", "its name"),
    "torch.save by another name": (
        "x.safetensors",
        lambda: a_zip("archive/other.pkl"),
        "a zip archive",
        "",
    ),
    "elf": ("x.so", lambda: b"\x7fELF\x02\x01", "a compiled program", ""),
    "parquet": ("x.bin", lambda: b"PAR1" + bytes(30), "a Parquet file", ""),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_named_as_what_it_is(name: str, tmp_path: Path) -> None:
    called, made, what, todo = FILES[name]
    path = tmp_path / called
    path.write_bytes(made())
    shown = CliRunner().invoke(main, ["inspect", str(path)])
    assert shown.exit_code == ExitCode.USAGE
    assert shown.output.count("\n") == 1
    assert what in shown.output and todo in shown.output and str(path) in shown.output


@pytest.mark.parametrize("name", ["lfs", "html", "empty", "gguf", "torchscript"])
def test_so_is_one_of_a_folder(name: str, tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("1.7"), tmp_path)
    _called, made, what, _todo = FILES[name]
    (path / "pytorch_model-00002-of-00002.bin").write_bytes(made())
    with pytest.raises(CheckpointError, match=what.replace("(", r"\(")):
        inspect(path)


def test_a_folder_says_what_it_holds_instead(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    (tmp_path / "model.nemo").write_bytes(a_tar("w"))
    with pytest.raises(CheckpointError, match=r"model.gguf is a GGUF file.*nemo is a tar"):
        inspect(tmp_path)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_piece_of_a_folder_is_not_taken_for_a_checkpoint(name: str, tmp_path: Path) -> None:
    path = torch_dist(recorded_state("1.7"), tmp_path)
    with pytest.raises(CheckpointError, match=f"Name the folder, {path}"):
        inspect(path / name)


def test_nor_is_an_index_of_shards(tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("1.7"), tmp_path)
    with pytest.raises(CheckpointError, match=f"Name the folder, {path}"):
        inspect(path / "pytorch_model.bin.index.json")


def test_rows_that_match_anything_are_not_in_the_table() -> None:
    """What torch.save writes begins like no row, and neither do a few random bytes."""
    for head in (b"PK\x03\x04" + bytes(508), b"\x80\x02}q\x00.", b"\x13\x37\xc0\xde" * 16):
        assert file_kinds.by_start(head) is None
    assert file_kinds.by_entries(["archive/data.pkl", "archive/data/0", "archive/version"]) is None


# What is in a folder and is no file.


@pytest.fixture
def a_socket(tmp_path: Path) -> Iterator[Path]:
    """A socket; its path must be short."""
    here = Path.cwd()
    folder = tmp_path / "s"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(folder)
        try:
            made.bind("a.pt")
        finally:
            os.chdir(here)
        yield folder / "a.pt"


def test_pipes_sockets_and_links_are_told_and_not_dropped(tmp_path: Path, a_socket: Path) -> None:
    folder = a_socket.parent
    torch_zip(recorded_state("1.7"), folder)
    os.mkfifo(folder / "pipe.pt")
    (folder / "to-pipe.pt").symlink_to("pipe.pt")
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "device.pt").symlink_to("/dev/zero")
    outside = tmp_path / "outside.pt"
    torch.save({"w": torch.ones(1)}, outside)
    (folder / "weights.pt").symlink_to(outside)
    notes = "\n".join(inspect(folder, ["1.11"]).notes)
    for told in (
        "pipe.pt is a named pipe, and was not read",
        "to-pipe.pt is a named pipe",
        "a.pt is a socket",
        "device.pt is a device",
        "linked is a link to a folder",
        "1 of its files are links (weights.pt)",
    ):
        assert told in notes
    with pytest.raises(CheckpointError, match="would be missing in the result"):
        remap(folder, tmp_path / "new", "1.11")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device"])
def test_they_are_no_checkpoints_themselves(kind: str, tmp_path: Path, a_socket: Path) -> None:
    path = {"a socket": a_socket, "a device": Path("/dev/zero")}.get(kind, tmp_path / "p.pt")
    if kind == "a named pipe":
        os.mkfifo(path)
    with pytest.raises(CheckpointError, match=f"is {kind}"):
        inspect(path)


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``os.walk`` passes over such folders, so that half a checkpoint would be taken for one."""
    torch_zip(recorded_state("1.7"), tmp_path)
    (tmp_path / "locked").mkdir()
    honest = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return honest(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(CheckpointError, match=r"cannot be read: .*locked"):
        inspect(tmp_path)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        *itertools.product(["zip", "safetensors"], [100, -1, -10, -100, -1000, -5000]),
        *itertools.product(["legacy"], [-1, -10, -100, -1000]),
    ],
)
def test_a_file_that_was_cut_short_is_said_to_be(kind: str, place: int, tmp_path: Path) -> None:
    """States of 1.x are archives, the end of one of which is found where the file's is missing."""
    path = tmp_path / f"model.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind == "safetensors":
        save_file(recorded_state("2.0"), path)
    else:
        zipped = kind == "zip"
        torch.save(recorded_state("1.11"), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:place])
    with pytest.raises(CheckpointError, match="is not whole: .*Copy or download it again"):
        inspect(path)


def test_bytes_behind_a_whole_file_are_no_cut(tmp_path: Path) -> None:
    path = torch_zip(recorded_state("1.11"), tmp_path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(CheckpointError, match="other bytes behind its directory"):
        inspect(path)


def test_a_file_of_torch_save_under_the_name_of_another_format(tmp_path: Path) -> None:
    path = torch_zip(recorded_state("2.0"), tmp_path).rename(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"a torch.save file under another name.*in \.pt"):
        inspect(path)
