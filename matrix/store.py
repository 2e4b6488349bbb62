"""The store: immutable records and checkpoints, named by their content.

A record's name is its key, the digest of what it observed and the runner, so that
writing the same observation twice is writing the same object, and two observations
under one key lie side by side. Any fsspec URL serves; a plain path is a local directory.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from pydantic import ValidationError

from matrix.errors import StoreError, UsageError
from matrix.evidence import FORMAT, Attempt, Load, Save
from matrix.selection import Selection

_KINDS: dict[str, type[Save] | type[Load] | type[Attempt]] = {
    "saves": Save,
    "loads": Load,
    "attempts": Attempt,
}
_SELECTION = "selection.json"


class Store:
    """Evidence on a file system.

    :param url: a directory, or any URL that fsspec knows.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = str(url)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"--store {self.url} cannot be used", why=str(error)) from error
        self._local = "file" in _protocols(self._fs)

    @property
    def absolute(self) -> str:
        """The same place for a process elsewhere on this machine: a local folder's full path."""
        return self._root if self._local else self.url

    def prepare(self) -> None:
        """Create the store's folders and see that they can be written.

        :raises StoreError: they cannot.
        """
        try:
            for folder in (*_KINDS, "checkpoints"):
                self._fs.makedirs(self._path(folder), exist_ok=True)
            self._put("writable", b"")
        except OSError as error:
            raise StoreError(
                f"the store {self.url} cannot be written",
                why=str(error),
                do="Name a writable place with --store",
            ) from error

    def exists(self) -> bool:
        """Tell whether there is a store, prepared by a run."""
        return any(self._fs.exists(self._path(folder)) for folder in _KINDS)

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _put(self, name: str, data: bytes) -> None:
        """Write one object, whole or not at all."""
        path = self._path(name)
        if not self._local:
            self._fs.pipe(path, data)
            return
        handle, part = tempfile.mkstemp(dir=Path(path).parent, prefix=".part-")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(part).replace(path)

    def _write(self, name: str, data: bytes) -> None:
        try:
            self._put(name, data)
        except OSError as error:
            raise StoreError(
                f"{name} could not be written to the store {self.url}",
                why=str(error),
                do="What was finished before is kept; free space or rights and run again",
            ) from error

    def add(self, record: Save | Load) -> None:
        """Keep a record."""
        folder = "saves" if isinstance(record, Save) else "loads"
        name = f"{record.key}-{record.observed()[:16]}-{record.provenance.runner}"
        self._write(f"{folder}/{name}.json", record.model_dump_json(exclude_none=True).encode())

    def add_attempt(self, attempt: Attempt) -> None:
        """Keep an attempt that gave no evidence, beside all earlier ones."""
        data = attempt.model_dump_json().encode()
        digest = hashlib.sha256(data).hexdigest()[:16]
        self._write(f"attempts/{attempt.key}-{digest}.json", data)

    def add_checkpoint(self, path: Path) -> str:
        """Keep a checkpoint file and return the SHA-256 of its bytes."""
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        self.put_checkpoint(digest, data)
        return digest

    def put_checkpoint(self, digest: str, data: bytes) -> None:
        """Keep a checkpoint's bytes under their SHA-256."""
        self._write(f"checkpoints/{digest}.pt", data)

    def checkpoints(self) -> set[str]:
        """Return the digests of the checkpoints that are kept."""
        path = self._path("checkpoints")
        names = self._fs.ls(path, detail=False) if self._fs.exists(path) else []
        found = {posixpath.basename(name) for name in names}
        return {name.removesuffix(".pt") for name in found if name.endswith(".pt")}

    def remember(self, selection: Selection) -> None:
        """Keep the selection of the run that is about to begin."""
        self._write(_SELECTION, selection.model_dump_json().encode())

    def forget(self) -> None:
        """Keep no selection: what the store holds is no one run's."""
        path = self._path(_SELECTION)
        if self._fs.exists(path):
            self._fs.rm_file(path)

    def remembered(self) -> Selection | None:
        """Return the last run's selection, or None before the first run.

        :raises StoreError: what is kept cannot be read.
        """
        path = self._path(_SELECTION)
        if not self._fs.exists(path):
            return None
        found: Selection = parse(Selection, self._read(path), f"{self.url}/{_SELECTION}")
        return found

    def checkpoint(self, digest: str) -> bytes | None:
        """Return a checkpoint's bytes, or None where the store does not have it.

        :raises StoreError: the bytes no longer match the digest they are kept under.
        """
        path = self._path("checkpoints", f"{digest}.pt")
        if not self._fs.exists(path):
            return None
        data: bytes = self._fs.cat_file(path)
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(
                f"checkpoint {path} does not match its digest",
                why="it was changed or torn after it was saved",
                do="Delete it; the next run saves it again",
            )
        return data

    def saves(self) -> dict[str, list[Save]]:
        """Return every save by key; more than one where observations differ."""
        return self._by_key("saves")

    def loads(self) -> dict[str, list[Load]]:
        """Return every load by key; more than one where observations differ."""
        return self._by_key("loads")

    def attempts(self) -> dict[str, list[Attempt]]:
        """Return every attempt that gave no evidence by key, oldest first."""
        found = self._by_key("attempts")
        return {key: sorted(items, key=lambda item: item.at) for key, items in found.items()}

    def saved(self, key: str) -> list[Save]:
        """Return the saves under one key, reading no others."""
        found = self._fs.glob(self._path("saves", f"{key}-*.json"))
        return [parse(Save, self._read(full), full) for full in sorted(found)]

    def _by_key(self, folder: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = defaultdict(list)
        for name, data in self._objects(folder):
            record = parse(_KINDS[folder], data, f"{self.url}/{folder}/{name}")
            if not name.startswith(record.key):
                raise StoreError(
                    f"record {self.url}/{folder}/{name} is not the one its name says",
                    why="it was copied or changed by hand",
                    do="Delete it; the next run measures it again",
                )
            found[record.key].append(record)
        return dict(found)

    def _objects(self, folder: str) -> Iterator[tuple[str, bytes]]:
        path = self._path(folder)
        if not self._fs.exists(path):
            return
        names = sorted(self._fs.ls(path, detail=False))
        for full in names:
            name = posixpath.basename(full)
            if name.endswith(".json"):
                yield name, self._read(full)

    def _read(self, full: str) -> bytes:
        if self._local:
            return Path(full).read_bytes()
        data: bytes = self._fs.cat_file(full)
        return data


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def parse(kind: type[Any], data: bytes | str, place: str) -> Any:
    """Read one record.

    :param place: where it stands, for the error.
    :raises StoreError: it is torn, is something else, or is of a newer format.
    """
    try:
        record = kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"record {place} cannot be read: {where} {first['msg']}".replace(":  ", ": "),
            why="it is torn, or was not written by this program",
            do="Delete it; the next run measures it again",
        ) from error
    if getattr(record, "format", FORMAT) > FORMAT:
        raise StoreError(
            f"record {place} has format {record.format}; this program reads up to {FORMAT}",
            do="Use the version of te-matrix that wrote it, or a newer one",
        )
    return record
