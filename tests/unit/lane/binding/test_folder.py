"""Rule: a release without a compiled extension is unavailable where the lane runs on those."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix.catalogue import releases
from matrix.errors import SourceUnavailable, UsageError
from matrix.lane.binding.folder import BindingFolder, WithBinding, binding_folder

KNOWN = releases.load()


class Code:
    def get(self, _release: object) -> Path:
        return Path("code")


@pytest.mark.parametrize(
    ("name", "extension"),
    [("1.7", "transformer_engine_extensions"), ("1.8", "transformer_engine_torch")],
)
def test_it_is_found_by_the_release_s_name(tmp_path: Path, name: str, extension: str) -> None:
    file = tmp_path / name / f"{extension}.so"
    file.parent.mkdir()
    file.touch()
    bindings = BindingFolder(tmp_path)
    assert bindings.file(KNOWN[name]) == file
    assert WithBinding(Code(), bindings).get(KNOWN[name]) == Path("code")
    with pytest.raises(SourceUnavailable, match=r"no compiled extension of 2\.18 in"):
        WithBinding(Code(), bindings).get(KNOWN["2.18"])


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder of compiled extensions"):
        binding_folder(str(tmp_path / "nowhere"))
