"""Reads the file that `te-matrix export --compat FILE` writes. Copy this file beside it.

Needs Python 3.8 or newer and nothing else.

>>> from compat_reader import Compat  # doctest: +SKIP
>>> known = Compat("compat.json")  # doctest: +SKIP
>>> for kind, answer in known.find("1.7", "2.4", module="MultiheadAttention"):  # doctest: +SKIP
...     print(kind["checkpoint"], answer["status"], answer.get("advice", ""))
"""

import json
from collections.abc import Iterator
from typing import Any

SCHEMA = "te-checkpoint-compat"
VERSION = 1

NO_CELL: dict[str, Any] = {"status": "unknown", "message": "one of them lacks the module or recipe"}


class Compat:
    """What each release does with the checkpoints of each other one.

    :param path: the file.
    :raises ValueError: it is another kind of file, or of a newer format.
    """

    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as stream:  # noqa: PTH123  # as plain as can be
            self.data = json.load(stream)
        if not isinstance(self.data, dict) or self.data.get("schema") != SCHEMA:
            raise ValueError(f"{path} is not a file of {SCHEMA}")
        if self.data["version"] > VERSION:
            raise ValueError("{} has format {}".format(path, self.data["version"]))

    def release(self, version: str) -> str | None:
        """Return the name of a release that is known, e.g. ``2.4`` for ``2.4.0+cu12``, or None."""
        plain = version.partition("+")[0].partition(".post")[0]
        short = plain[:-2] if plain.count(".") == 2 and plain.endswith(".0") else plain
        return next((name for name in (plain, short) if name in self.data["releases"]), None)

    def find(
        self,
        saved_by: str,
        loaded_by: str,
        module: str | None = None,
        recipe: str | None = None,
        scenario: str | None = None,
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield the kinds of checkpoints, each with what becomes of it in a plain load.

        :param saved_by: version of Transformer Engine that wrote the checkpoint.
        :param loaded_by: version of Transformer Engine that loads it.
        :param module: name of its class, e.g. ``TransformerLayer``.
        :param recipe: class of the recipe that it was saved with; empty for none.
        :param scenario: name of one kind.
        :raises KeyError: nothing is known of one of the versions.
        """
        saver, loader = self._index(saved_by), self._index(loaded_by)
        for kind in self.data["kinds"]:
            asked = {"module": module, "recipe": recipe, "scenario": scenario}
            if all(want is None or kind.get(name, "") == want for name, want in asked.items()):
                yield kind, self._answer(kind["scenario"], saver, loader)

    def _index(self, version: str) -> int:
        name = self.release(version)
        if name is None:
            raise KeyError(f"nothing is known of Transformer Engine {version}")
        releases: list[str] = self.data["releases"]
        return releases.index(name)

    def _answer(self, scenario: str, saver: int, loader: int) -> dict[str, Any]:
        runs = self.data["rows"][self.data["cells"][scenario][loader]]
        for value, length in zip(runs[::2], runs[1::2], strict=False):
            if saver < length:
                found: dict[str, Any] = self.data["outcomes"][value] if value >= 0 else NO_CELL
                return found
            saver -= length
        raise IndexError("the row is too short")
