"""Rule: whatever Python unpacks an archive, nothing of it leads out of the folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from matrix.system.unpacking import unpack

# A newer Python deprecates what an old one has no other way to do.
pytestmark = pytest.mark.filterwarnings("ignore:.*filter:DeprecationWarning")

Pack = Callable[..., tarfile.TarFile]


@pytest.fixture(params=["filters", "no filters"])
def pack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Make an archive of one member; Python 3.11.2, Debian 12's, has no filters."""
    if request.param == "no filters":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    elif not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filters")

    def make(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarFile:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, to
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(entry)
        return tarfile.open(fileobj=io.BytesIO(file.getvalue()))

    return make


def test_files_arrive(pack: Pack, tmp_path: Path) -> None:
    with pack("a/b.py") as archive:
        unpack(archive, tmp_path)
    assert (tmp_path / "a" / "b.py").is_file()


@pytest.mark.parametrize("chosen", [True, False])
def test_a_path_that_leads_out_is_refused(pack: Pack, tmp_path: Path, chosen: bool) -> None:
    folder = tmp_path / "folder"
    with pack("../b.py") as archive, pytest.raises(tarfile.TarError):
        unpack(archive, folder, archive.getmembers() if chosen else None)
    assert not (tmp_path / "b.py").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_code_that_is_a_link_out_is_refused(pack: Pack, tmp_path: Path, kind: bytes) -> None:
    folder = tmp_path / "folder"
    (tmp_path / "b.py").touch()
    with pack("a.py", kind, "../b.py") as archive, pytest.raises(tarfile.TarError):
        unpack(archive, folder)
    assert not (folder / "a.py").exists()
