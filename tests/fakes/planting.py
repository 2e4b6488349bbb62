"""Puts the fake in the place of a worker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from matrix.catalogue import features, releases
from matrix.catalogue.releases import Release
from matrix.lane.environment import WORKER

FAKE = Path(__file__).with_name("release.py")


def a_worker(place: Path, told: dict[str, Any]) -> Path:
    """Copy the worker, with the fake in place of what serves a release.

    :param told: what the fake finds beside itself; ``release.py`` explains it.
    """
    shutil.copytree(WORKER, place, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(FAKE, place / "release.py")
    plan = {**told, "features": {row.version: exported(row) for row in releases.load().releases}}
    (place / "misbehaviour.json").write_text(json.dumps(plan))
    with (place / "forkserver.py").open("a") as stream:
        stream.write("\n\ndef _preload():\n    pass  # the fake needs neither torch nor others\n")
    return place


def exported(release: Release) -> dict[str, list[str]]:
    """Return what a release exports, as its process says it, by the catalogue."""
    known = features.load()
    tables = {"modules": known.modules, "recipes": known.recipes}
    return {
        kind: [name for name, feature in table.items() if feature.is_in(release)]
        for kind, table in tables.items()
    }


class Anywhere:
    """A source for every release: the fake imports nothing.

    :param folder: what it names as every release's place.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, _release: object) -> Path:
        """Return the folder."""
        return self._folder
