"""Spoils a copy of a release, so that it can be tried as a candidate."""

from __future__ import annotations

import shutil
from pathlib import Path

from matrix.catalogue import releases
from matrix.lane.sources import FetchedSources
from saboteurs.table import HERE

ENTRY = "transformer_engine/pytorch/__init__.py"


def plant(fault: Path, release: str, root: Path) -> Path:
    """Copy a release to ``root`` with a fault that its last import brings in.

    Nothing of the release's own text is changed or kept here.

    :param fault: a Python file; it finds :mod:`saboteurs.tools` beside itself.
    :returns: the source tree, to be given as a candidate.
    :raises SourceUnavailable: the release cannot be had here.
    """
    source = FetchedSources().get(releases.load()[release])
    shutil.copytree(source / "transformer_engine", root / "transformer_engine")
    (root / "build_tools").mkdir()
    (root / "build_tools" / "VERSION.txt").write_text(f"{release}\n")
    entry = root / ENTRY
    shutil.copy(fault, entry.with_name("planted.py"))
    shutil.copy(HERE / "tools.py", entry.with_name("planted_tools.py"))
    with entry.open("a", encoding="utf-8") as stream:
        stream.write("\nfrom . import planted\n")
    return root
