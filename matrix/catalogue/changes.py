"""The table of changes of behaviour between releases, and the commits that made them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from matrix.catalogue import tables
from matrix.errors import StoreError, os_errors_as

COMMIT = r"^[0-9a-f]{40}$"

Basis = Literal["commit", "range", "version", "unknown"]
"""How far a change was traced: to one commit; to a range, as the others in it could not be
judged; to the version that trees are taken for, by which the cpu lane chooses the stand-in for
the compiled extension; or not at all."""


class Effect(tables.Row):
    """One difference between a release and the one before it, in one or more scenarios."""

    role: Literal["loader", "saver"]
    """Whether the two differ as loaders or as savers."""
    variant: str
    """Name of the variant."""
    before: str
    """The outcome with the older release."""
    now: str
    """The outcome with the newer release."""
    modules: tuple[str, ...]
    """Names of the modules that show it."""
    recipes: tuple[str, ...]
    """Names of the recipes that it is shown with, of the saver and of the loader."""
    partners: str
    """Ranges of the releases on the other side."""
    cells: int = Field(gt=0)
    """Number of cells of the newer release that show it."""
    errors: tuple[str, ...] = ()
    """The errors before and after, one line each."""
    tested: tuple[str, ...]
    """Ids of the cells that were followed through the history, one of each pair of errors."""


class Change(tables.Row):
    """What one commit, or a range of them, changes between two neighbouring releases."""

    release: str
    """The newer release."""
    after: str
    """The release before it."""
    basis: Basis
    """How far the change was traced."""
    way: Literal["has", "lacks"] = "has"
    """Whether the newer release has the commit, or lacks one that the older one has: a
    cherry-pick on its release branch that the newer one does not come from."""
    commit: str | None = Field(default=None, pattern=COMMIT)
    """The commit on the way from one release to the other; of a range the newest one."""
    date: str | None = None
    """When it was written, in ISO 8601."""
    subject: str | None = None
    """The first line of its message."""
    pulls: tuple[int, ...] = ()
    """Numbers of the pull requests that its subject names, or that of the commit on main."""
    main: str | None = Field(default=None, pattern=COMMIT)
    """The commit on main: itself, or the one that a release branch picked."""
    alike: bool = False
    """Whether the one on main is known by its changing the outcome in the same way, and by nothing
    else: the release branch has several commits in one, and does not name them."""
    left: tuple[str, ...] = ()
    """Of a range its commits, newest first; of a version the commit, and those of the way that
    touch the source of the compiled extension."""
    files: tuple[str, ...] = ()
    """The files of the commit on the path of an error; where there is none, its Python files."""
    why: str | None = None
    """Why no single commit is named."""
    effect: tuple[Effect, ...]
    """What changes."""


class Exemption(tables.Row):
    """A reference of the ledger that the table need not have, and why."""

    reference: str
    """The pull request or commit, e.g. ``#1127``, as entries of the ledger name it."""
    entries: tuple[str, ...]
    """Ids of those entries."""
    reason: str
    """Why no change between releases is attributed to it."""


class Changes(tables.Row):
    """Contents of ``changes.toml``."""

    change: tuple[Change, ...] = ()
    """The changes, by release and commit."""
    exempt: tuple[Exemption, ...] = ()
    """References of the ledger that no change is attributed to."""


def load(path: Path | None = None) -> Changes:
    """Read the table.

    :param path: the file to read; by default the packaged one.
    :raises TableError: it is malformed.
    """
    return tables.load(path or tables.packaged("changes.toml"), Changes)


def write(path: Path, found: Changes) -> None:
    """Write the table; comments at the top of an existing file are kept.

    :raises StoreError: the file cannot be written.
    """
    with os_errors_as(StoreError, f"{path} cannot be written"):
        head = _head(path.read_text(encoding="utf-8")) if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under another name first: a run that is killed leaves the table whole.
        part = path.with_name(f".{path.name}.part")
        part.write_text(head + "\n".join(_lines(found)) + "\n", encoding="utf-8")
        part.replace(path)


def _head(text: str) -> str:
    lines = []
    for line in text.splitlines(keepends=True):
        if line.strip() and not line.startswith("#"):
            break
        lines.append(line)
    return "".join(lines)


def _lines(found: Changes) -> Iterator[str]:
    for change in found.change:
        yield "[[change]]"
        yield from _fields(change.model_dump(exclude={"effect"}, exclude_defaults=True))
        for effect in change.effect:
            yield "\n[[change.effect]]"
            yield from _fields(effect.model_dump(exclude_defaults=True))
        yield ""
    for exemption in found.exempt:
        yield "[[exempt]]"
        yield from _fields(exemption.model_dump(exclude_defaults=True))
        yield ""


def _fields(values: dict[str, Any]) -> Iterator[str]:
    """Yield keys and values as TOML: its strings, numbers and lists are written as JSON's are."""
    for key, value in values.items():
        yield f"{key} = {json.dumps(value, ensure_ascii=True)}"
