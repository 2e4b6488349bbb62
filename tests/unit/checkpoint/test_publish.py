"""Rule: a result appears whole or not at all, and whatever prevents it is one sentence."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from helpers.formats import FORMATS, layered, recorded_state, torch_zip
from matrix.checkpoint import layout, publish, rewriting
from matrix.checkpoint.errors import CheckpointError
from matrix.cli import main
from matrix.doctor import remap
from matrix.doctor import remapping as remapping_module
from matrix.errors import ExitCode
from matrix.system import cleanup

pytestmark = pytest.mark.usefixtures("not_tried")


def make(name: str, folder: Path) -> Path:
    return FORMATS[name](layered(recorded_state("1.7"), 2), folder)


# Names.

LONG = "x" * 256
REFUSED = {
    "too long": (lambda out: out / LONG, "File name too long"),
    "too long a folder": (lambda out: out / LONG / "x.pt", "File name too long"),
    "too long a path": (lambda out: out.joinpath(*["x" * 200] * 30), "File name too long"),
    "NUL": (lambda out: out / "a\0b.pt", "NUL character"),
    "below a file": (lambda out: out / "file" / "x.pt", "is no folder"),
    "exists": (lambda out: out / "file", "exists"),
    "exists as a folder": (lambda out: out, "exists"),
    "no folder": (lambda out: out / "none" / "x.pt", "Create it first"),
    "a link in a circle": (lambda out: out / "circle" / "x.pt", ""),
    "a link to nowhere": (lambda out: out / "dangling", "exists"),
}


@pytest.mark.parametrize("name", ["zip", "mp_rank"])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_name_that_cannot_be_is_one_sentence(
    kind: str, name: str, tmp_path: Path, out: Path
) -> None:
    (out / "file").write_text("")
    (out / "circle").symlink_to("circle")
    (out / "dangling").symlink_to("nowhere")
    before = sorted(out.rglob("*"))
    named, complaint = REFUSED[kind]
    words = ["remap", str(make(name, tmp_path)), str(named(out)), "--to", "1.11"]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == ExitCode.USAGE
    assert shown.output.count("\n") == 1 and shown.output.startswith("te-matrix: ")
    assert complaint in shown.output and "\0" not in shown.output
    assert sorted(out.rglob("*")) == before


@pytest.mark.parametrize("name", ["zip", "mp_rank"])
@pytest.mark.parametrize("tmpfile", [True, False])
def test_a_name_as_long_as_the_file_system_allows(
    tmpfile: bool, name: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not tmpfile:
        monkeypatch.delattr(os, "O_TMPFILE")
    done = remap(make(name, tmp_path), out / ("x" * 255), "1.11")
    assert [p.name for p in out.iterdir()] == [done.out.name]


def test_a_place_that_is_read_only(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before anything is copied; root may write anywhere, so the answer is put in."""
    monkeypatch.setattr(publish.os, "access", lambda *_arguments: False)
    with pytest.raises(CheckpointError, match="nothing may be written to .*read-only"):
        remap(make("zip", tmp_path), out / "x.pt", "1.11")


@pytest.mark.parametrize("inside", ["new", "mp_rank_00/new", "../iter_0000001/new"])
def test_inside_what_is_read(inside: str, tmp_path: Path) -> None:
    path = make("mp_rank", tmp_path)
    with pytest.raises(CheckpointError, match="lies inside"):
        remap(path, path / inside, "1.11")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(CheckpointError, match="lies inside"):
        remap(path, tmp_path / "link" / "new", "1.11")


@pytest.mark.parametrize("what", ["an empty folder", "a link"])
def test_what_came_into_being_meanwhile_is_not_replaced(
    what: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_arguments: object) -> tuple[bool, str]:
        (out / "new").mkdir() if what == "an empty folder" else (out / "new").symlink_to("x")
        return True, ""

    monkeypatch.setattr(remapping_module, "verify", meanwhile)
    with pytest.raises(CheckpointError, match="came into being meanwhile"):
        remap(make("mp_rank", tmp_path), out / "new", "1.11")
    assert [p.name for p in out.iterdir()] == ["new"]


# Runs that were killed.


def left_by(out: Path, **other: Any) -> Path:
    """A folder as a killed run leaves it; ``other`` is what is different about that run."""
    name = cleanup.mark(".te-matrix-")
    for old, new in other.items():
        name = name.replace({"pid": f"-{os.getpid()}-", "where": cleanup._namespace()}[old], new)
    folder = out / f"{name}left"
    folder.mkdir()
    (folder / "half").write_text("")
    return folder


def test_what_a_killed_run_left_is_removed(tmp_path: Path, out: Path) -> None:
    left_by(out, pid="-4194305-")
    remap(make("mp_rank", tmp_path), out / "new", "1.11")
    assert [p.name for p in out.iterdir()] == ["new"]


@pytest.mark.parametrize("where", ["container", "host"])
def test_a_run_elsewhere_is_neither_in_the_way_nor_disturbed(
    where: str, tmp_path: Path, out: Path
) -> None:
    """Of a container with this host name, and the process id that this process has here."""
    node = os.uname().nodename if where == "container" else "elsewhere"
    live = left_by(out, where=f"{node}-0123456789ab")
    ended = left_by(out, where=f"{node}-0123456789ab", pid="-4194305-")
    remap(make("mp_rank", tmp_path), out / "new", "1.11")
    assert {p.name for p in out.iterdir()} == {"new", live.name, ended.name}
    assert (live / "half").exists()


def test_an_older_process_with_this_number_is_not_in_the_way(tmp_path: Path, out: Path) -> None:
    """In a container every run may be process 1."""
    mark = f".te-matrix-{cleanup._namespace()}-{os.getpid()}-1-left"
    (out / mark).mkdir()
    remap(make("mp_rank", tmp_path), out / "new", "1.11")
    assert [p.name for p in out.iterdir()] == ["new"]


def test_two_results_at_once(tmp_path: Path, out: Path) -> None:
    """Of one process, as from threads: neither sweeps away the other's."""
    with publish.new_folder(out / "a") as one, publish.new_folder(out / "b") as other:
        assert one != other and one.exists()
    assert {p.name for p in out.iterdir()} == {"a", "b"}


# Room.


def rewrite_of(path: Path, unchanged: publish.Unchanged = "copy") -> rewriting.Rewrite:
    from matrix.catalogue import forms
    from matrix.checkpoint import edits

    found = layout.find(path)
    form = forms.load()["1.8"]
    return rewriting.Rewrite(found, edits.plan(found.read(), form), form, unchanged)


def written_size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("name", FORMATS)
def test_room_is_asked_for_what_is_written(name: str, tmp_path: Path, out: Path) -> None:
    release = "2.17.1" if name == "safetensors" else "1.7"
    path = FORMATS[name](layered(recorded_state(release), 2), tmp_path)
    size = rewrite_of(path).size()
    done = remap(path, out / path.name, "1.11")
    assert written_size(done.out) <= size <= 2 * written_size(done.out) + (1 << 20)


def test_files_that_are_linked_take_no_room(tmp_path: Path) -> None:
    path = make("torch_dist", tmp_path)
    with (path / "__1_0.distcp").open("wb") as stream:
        stream.truncate(1 << 40)
    assert rewrite_of(path, "link").size() < 1 << 24
    assert rewrite_of(path, "copy").size() > 1 << 40


def test_a_file_that_is_packed_takes_the_room_that_it_has_unpacked(tmp_path: Path) -> None:
    """It is written as PyTorch writes, without compression; or it is not read at all."""
    state = {**recorded_state("1.7"), "w": torch.zeros(1 << 22)}
    path = torch_zip(state, tmp_path)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as one, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for info in one.infolist():
            other.writestr(info.filename, one.read(info))
    assert packed.stat().st_size < 1 << 20
    try:
        rewrite = rewrite_of(packed)
    except CheckpointError as error:
        assert "compressed" in str(error)
    else:
        assert rewrite.size() > 1 << 24


def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make("mp_rank", tmp_path)

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copystat", full)
    (path / "extra.txt").write_text("copied as it is")
    with pytest.raises(CheckpointError, match="No space left"):
        remap(path, out / "new", "1.11")
    assert list(out.iterdir()) == []
